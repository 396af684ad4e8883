#!/bin/bash
# cuDNN plans every distinct layer for a described card: tests/forward/test_gpu_graphs.sh BUILD
# Engines that are compiled at run time are only offered where libcuda.so.1 loads; without a driver the toolkit's stub stands in.
build=${1:?usage: test_gpu_graphs.sh BUILD}
if ! [ -x "$build/gpu/graphs" ]; then
    echo "skip graphs: this build has no cuda executor (no nvcc, or no cuDNN)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
stub=$(ls "${CUDA_HOME:-/usr/local/cuda}"/lib64/stubs/libcuda.so 2>/dev/null)
if ! ldconfig -p | grep -q 'libcuda\.so\.1 ' && [ -n "$stub" ]; then
    ln -s "$stub" "$tmp/libcuda.so.1"
fi
LD_LIBRARY_PATH="$tmp${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$build/gpu/graphs" tests/data/h100.json
