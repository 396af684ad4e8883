#!/bin/bash
# The rest of the tests: tests/long.sh BUILD. LONG_FUZZ: seconds of fuzzing a target (3600). Prints a line a part, and the sum.
set -u
build=$1
fuzz=${LONG_FUZZ:-3600}
passed=0 failed=0

part() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$build/long-$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok $name ($((SECONDS - start)) s): $(tail -n 1 "$build/long-$name.log")"
    else
        failed=$((failed + 1))
        echo "FAIL $name ($((SECONDS - start)) s), see $build/long-$name.log"
        tail -n 15 "$build/long-$name.log"
    fi
}

sanitizers() {
    make --no-print-directory -j2 SAN=address,undefined all tests &&
    UBSAN_OPTIONS=halt_on_error=1 FL_TEST_TIMEOUT=1200 bash tests/run.sh build-address-undefined tests/proto tests/runtime tests/launch tests/stages tests/samples tests/forward/test_input tests/forward/test_net
}

under_valgrind() {
    local t rc=0
    for t in "$build"/tests/proto/test_* "$build"/tests/runtime/test_* "$build"/tests/stages/test_{source,decode,jpeg,tta_merge,stack,augment,sink}; do
        case $t in *.d|*.o) continue ;; esac
        echo "$t"
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite "$t" >"$build/valgrind.log" 2>&1 || { rc=1; cat "$build/valgrind.log"; }
    done
    return $rc
}

# Led by coverage where clang's libFuzzer is, else by chance.
fuzzing() {
    local f
    if echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { (void)p; return n > 9; }' | clang -fsanitize=fuzzer -x c - -o "$build/guided" 2>/dev/null; then
        make --no-print-directory fuzz-guided FUZZ_SECONDS="$fuzz"
        return
    fi
    make --no-print-directory -j2 SAN=address,undefined tests || return 1
    for f in build-address-undefined/tests/fuzz/fuzz_*; do
        case $f in *.d|*.o) continue ;; esac
        echo "$f"
        timeout "$fuzz" "$f" -n 1000000000 -s "$RANDOM" -k "$build/crash-$(basename "$f")"
        [ $? = 124 ] || return 1                 # it has no other way to end than the time
    done
}

mkdir -p "$build"
part links env FLOWRUN_LONG=1 "$build/tests/runtime/test_link"
part chaos make --no-print-directory chaos
part model env FLOWRUN_LONG=1 bash tests/delivery/test_model.sh "$build"
part parity env FLOWRUN_LONG=1 FL_TEST_TIMEOUT=3600 bash tests/run.sh "$build" tests/parity tests/forward
part chain /usr/bin/python3 -B tests/long/chain.py "$build"
part runs /usr/bin/python3 -B tests/long/runs.py "$build"
part delivery env FLOWRUN_LONG=1 FL_TEST_TIMEOUT=1200 bash tests/run.sh "$build" tests/flow/test_delivery tests/flow/test_poison tests/flow/test_chaos tests/python/test_stages
part hosts env FLOWRUN_LONG=1 FL_TEST_TIMEOUT=600 bash tests/run.sh "$build" tests/flow/test_hosts_net tests/flow/test_slurm tests/flow/test_train
part cycles /usr/bin/python3 -B tests/long/cycles.py "$build"
part surrogate /usr/bin/python3 -B tests/long/surrogate.py "$build"
part second env FLOWRUN_LONG=1 /usr/bin/python3 -B tests/flow/test_real_stack.py "$build"
part soak /usr/bin/python3 -B tests/long/soak.py "$build"
part sanitizers sanitizers
part valgrind under_valgrind
part fuzz fuzzing
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
