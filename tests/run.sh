#!/bin/bash
# Runs every test below a build folder and sums up: tests/run.sh BUILD [PATTERN...] (only tests whose path holds a pattern).
#
# A test is BUILD/tests/*/test_*, tests/*/test_*.sh or .py (given BUILD), or a fuzz target BUILD/tests/fuzz/fuzz_* (replays its
# corpus). Its last line is "N passed, N failed[, N skipped]"; one that crashes, hangs or ends without it is one failure.
# Where CI=true, a skipped test of tests/parity is a failure: there the other programs must be present.
set -u

build=${1:?usage: tests/run.sh BUILD [PATTERN...]}
shift
limit=${FL_TEST_TIMEOUT:-300}
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

wanted() {
    [ $# = 1 ] && return 0
    local path=$1 p
    shift
    for p in "$@"; do
        case $path in *"$p"*) return 0 ;; esac
    done
    return 1
}

fail() {
    failed=$((failed + $1))
    echo "---- $2: $3"
    cat "$out"
}

run_one() {
    local test=$1 rc p f s sum
    case $test in
    *.py) set -- /usr/bin/python3 -B "$test" "$build" ;;
    *.sh) set -- bash "$test" "$build" ;;
    *)    set -- "$test" ;;
    esac
    timeout --kill-after=10 "$limit" "$@" >"$out" 2>&1 </dev/null
    rc=$?
    if [ $rc = 124 ] || [ $rc = 137 ]; then
        fail 1 "$test" "no end within $limit s, or killed"
        return
    fi
    sum=$(tail -n 1 "$out")
    if ! [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        fail 1 "$test" "ended with status $rc and no summary"
        return
    fi
    p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]} s=${BASH_REMATCH[4]:-0}
    passed=$((passed + p))
    if [ "$f" = 0 ] && [ $rc != 0 ]; then
        fail 1 "$test" "status $rc after \"$sum\""
    elif [ "$f" != 0 ]; then
        fail "$f" "$test" "$sum"
    fi
    if [ "$s" != 0 ] && [ "${CI:-}" = true ] && [[ $test == *tests/parity/* ]]; then
        fail "$s" "$test" "$s skipped, where none may be"
    elif [ "$s" != 0 ]; then
        skipped=$((skipped + s))
        grep '^skip ' "$out" | sed "s|^|${test##*/}: |"
    fi
}

shopt -s nullglob
programs=() scripts=()
for test in "$build"/tests/*/test_* "$build"/tests/fuzz/fuzz_*; do
    case $test in *.o | *.d) continue ;; esac
    [ -f "$test" ] && [ -x "$test" ] && wanted "$test" "$@" && programs+=("$test")
done
for test in tests/*/test_*.sh tests/*/test_*.py; do
    wanted "$test" "$@" && scripts+=("$test")
done

# Every second program, from $1 on; then the counts.
lane() {
    local i
    out=$out.$1
    for ((i = $1; i < ${#programs[@]}; i += 2)); do
        run_one "${programs[i]}"
    done
    rm -f "$out"
    echo "$passed $failed $skipped" >"$counts.$1"
}

# Programs share nothing and have one thread, most of them: two at a time. A script starts whole graphs: one after the other.
counts=$(mktemp)
trap 'rm -f "$out" "$counts" "$counts".[01]' EXIT
(lane 0) &
(lane 1) &
wait
for i in 0 1; do
    read -r p f s <"$counts.$i" || { p=0 f=1 s=0; echo "---- the programs' lane $i ended early"; }
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
for test in "${scripts[@]}"; do
    run_one "$test"
done

if [ $((passed + failed + skipped)) = 0 ]; then
    echo "no tests below $build"
    failed=1
fi
if [ $skipped != 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed = 0 ]
