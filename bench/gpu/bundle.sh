#!/bin/bash
# What a host with a card and cuDNN but without a compiler needs: bundle.sh BUILD writes BUILD/gpu-bundle.tar.gz.
# There: tar xzf, cd gpu-bundle, LD_LIBRARY_PATH=lib bash bench/gpu/check-gpu.sh build (cuDNN on the path as well).
set -eu
build=${1:?usage: bundle.sh BUILD}
[ -x "$build/gpu/check" ] || { echo "gpu-bundle: this build has no cuda executor (no nvcc, or no cuDNN)"; exit 1; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
to=$tmp/gpu-bundle
mkdir -p "$to/build" "$to/lib" "$to/tests/data" "$to/tests/forward" "$to/bench"
cp -r "$build/gpu" "$build/stages" "$build/bin" "$build/plugins" "$to/build/"
[ ! -d "$build/tools" ] || cp -r "$build/tools" "$to/build/"
find "$to/build" -name '*.d' -delete
cp -r bench/gpu "$to/bench/"
cp tests/data/forward_logits.txt tests/data/h100.json "$to/tests/data/"
cp tests/forward/test_gpu_graphs.sh "$to/tests/forward/"
# all that they load, but for what every host has and what belongs to the card's host
ldd "$build"/gpu/check "$build"/stages/* "$build"/bin/flowrun 2>/dev/null | awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -Ev '/(ld-linux|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libcuda|libcudnn)[^/]*$' | xargs -r cp -Lt "$to/lib"
strip "$to"/build/gpu/* "$to"/build/stages/* "$to"/build/bin/* "$to"/build/plugins/* 2>/dev/null || true
tar czf "$build/gpu-bundle.tar.gz" -C "$tmp" gpu-bundle
echo "$build/gpu-bundle.tar.gz: $(du -h "$build/gpu-bundle.tar.gz" | cut -f1)"
