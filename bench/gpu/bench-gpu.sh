#!/bin/bash
# Speed of the cuda executor, and PyTorch's where it is installed, within 8 minutes: bench-gpu.sh BUILD. Writes BUILD/gpu-speed.jsonl.
build=${1:?usage: bench-gpu.sh BUILD}
[ -x "$build/gpu/speed" ] || { echo "skipped: no device (this build has no cuda executor)"; exit 0; }
if "$build/gpu/speed" resnet50 f16 224 1 2>&1 | grep '^skipped'; then
    exit 0
fi
end=$((SECONDS + 450))
left() { [ $((end - SECONDS)) -gt 1 ] && echo $((end - SECONDS)) || echo 1; }
out=$build/gpu-speed.jsonl
: >"$out"
for arch in resnet50 densenet121 resnext50_32x4d vgg16; do
    timeout "$(left)" "$build/gpu/speed" $arch f16 224 32 64 128 256 | tee -a "$out"
done
if python3 -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null; then
    for arch in resnet50 densenet121 resnext50_32x4d vgg16; do
        timeout "$(left)" python3 bench/gpu/torch_rival.py $arch 224 256 2>/dev/null | tee -a "$out" || echo "torch $arch: no time left"
    done
fi
