#!/bin/bash
# Speed of the cuda executor, and PyTorch's where it is installed, within 8 minutes: bench-gpu.sh BUILD. Writes BUILD/gpu-speed.jsonl.
# Fails when a network of ours could not be timed; PyTorch's words go to BUILD/gpu-rival.log.
set -o pipefail
build=${1:?usage: bench-gpu.sh BUILD}
[ -x "$build/gpu/speed" ] || { echo "skipped: no device (this build has no cuda executor)"; exit 0; }
if "$build/gpu/speed" 2>/dev/null; then         # says so when there is no card
    exit 0
fi
end=$((SECONDS + 450))
left() { [ $((end - SECONDS)) -gt 1 ] && echo $((end - SECONDS)) || echo 1; }
out=$build/gpu-speed.jsonl
archs="resnet50 densenet121 resnext50_32x4d vgg16 densenet169"
bad=0
: >"$out"
for arch in $archs; do
    timeout "$(left)" "$build/gpu/speed" "$arch" f16 224 32 64 128 256 | tee -a "$out" || { echo "$arch: failed, or no time left"; bad=1; }
done
if python3 -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null; then
    : >"$build/gpu-rival.log"
    for arch in $archs; do
        timeout "$(left)" python3 bench/gpu/torch_rival.py "$arch" 224 256 "$out" 2>>"$build/gpu-rival.log" | tee -a "$out" ||
            echo "torch $arch: failed ($build/gpu-rival.log), or no time left"
    done
fi
exit $bad
