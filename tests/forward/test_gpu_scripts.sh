#!/bin/bash
# What the scripts for a card end with, with programs in the place of those that need one: test_gpu_scripts.sh BUILD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/gpu" "$tmp/bin"
printf '#!/bin/sh\nexit 1\n' >"$tmp/bin/python3"        # no PyTorch
chmod +x "$tmp/bin/python3"
passed=0
failed=0

# program NAME TEXT: TEXT is a script in the place of build/gpu/NAME
program() { printf '#!/bin/sh\n%s\n' "$2" >"$tmp/gpu/$1"; chmod +x "$tmp/gpu/$1"; }

# ends NAME SCRIPT STATUS TEXT: SCRIPT ends with STATUS and says TEXT
ends() {
    local said status
    said=$(PATH="$tmp/bin:$PATH" bash "bench/gpu/$2" "$tmp" 2>&1)
    status=$?
    if [ $status -eq "$3" ] && grep -q "$4" <<<"$said"; then
        echo "ok   $1"
        passed=$((passed + 1))
    else
        echo "FAIL $1: ended with $status, want $3 and \"$4\"; said: $said"
        failed=$((failed + 1))
    fi
}

ends "bench without the programs" bench-gpu.sh 0 "^skipped: no device"
ends "check without the programs" check-gpu.sh 0 "^skipped: no device"
program speed 'echo "skipped: no device (none)"'
program check 'echo "skipped: no device (none)"'
ends "bench without a card" bench-gpu.sh 0 "^skipped: no device"
ends "check without a card" check-gpu.sh 0 "^skipped: no device"
program speed '[ $# -gt 0 ] || exit 2; echo "{}"'
program check 'echo "1 passed, 0 failed"'
ends "bench that passes" bench-gpu.sh 0 "{}"
ends "check that passes" check-gpu.sh 0 "1 passed"
program speed '[ $# -gt 0 ] || exit 2; [ "$1" != vgg16 ] || exit 1; echo "{}"'
program check 'echo "0 passed, 1 failed"; exit 1'
ends "bench that fails in one network" bench-gpu.sh 1 "^vgg16: failed"
ends "check that fails" check-gpu.sh 1 "1 failed"
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
