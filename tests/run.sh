#!/bin/bash
# Runs every test below a build folder and sums up: tests/run.sh BUILD [PATTERN...] (only tests whose path holds a pattern).
#
# A test is BUILD/tests/*/test_*, tests/*/test_*.sh or .py (given BUILD), or a fuzz target BUILD/tests/fuzz/fuzz_* (replays its
# corpus). Its last line is "N passed, N failed[, N skipped]"; one that crashes, hangs or ends without it is one failure.
# Tests share nothing: JOBS (2) run at a time. Where CI=true, a skipped test of tests/parity is a failure: there the other
# programs must be present.
set -u

build=${1:?usage: tests/run.sh BUILD [PATTERN...]}
shift
limit=${FL_TEST_TIMEOUT:-300}

# One test, of which only what went wrong is shown; then "PASSED FAILED SKIPPED" as a line of the file $counts.
run_one() {
    local test=$1 out wrong= passed=0 failed=0 skipped=0 rc sum
    out=$(mktemp)
    case $test in
    *.py) set -- /usr/bin/python3 -B "$test" "$build" ;;
    *.sh) set -- bash "$test" "$build" ;;
    *)    set -- "$test" ;;
    esac
    timeout --kill-after=10 "$limit" "$@" >"$out" 2>&1 </dev/null
    rc=$?
    sum=$(tail -n 1 "$out")
    if [ $rc = 124 ] || [ $rc = 137 ]; then
        failed=1 wrong="no end within $limit s, or killed"
    elif ! [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        failed=1 wrong="ended with status $rc and no summary"
    else
        passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]} skipped=${BASH_REMATCH[4]:-0}
        if [ "$failed" = 0 ] && [ $rc != 0 ]; then
            failed=1 wrong="status $rc after \"$sum\""
        elif [ "$failed" != 0 ]; then
            wrong=$sum
        fi
        if [ "$skipped" != 0 ] && [ "${CI:-}" = true ] && [[ $test == *tests/parity/* ]]; then
            failed=$((failed + skipped)) wrong="$skipped skipped, where none may be" skipped=0
        fi
    fi
    # One write each: the lines of tests that end together don't mix.
    if [ -n "$wrong" ]; then
        printf '%s\n' "---- $test: $wrong
$(cat "$out")"
    elif [ "$skipped" != 0 ]; then
        printf '%s\n' "$(grep '^skip ' "$out" | sed "s|^|${test##*/}: |")"
    fi
    echo "$passed $failed $skipped" >>"$counts"
    rm -f "$out"
}

wanted() {
    [ $# = 1 ] && return 0
    local path=$1 p
    shift
    for p in "$@"; do
        case $path in *"$p"*) return 0 ;; esac
    done
    return 1
}

shopt -s nullglob
tests=()
for test in tests/*/test_*.py tests/*/test_*.sh "$build"/tests/*/test_* "$build"/tests/fuzz/fuzz_*; do
    case $test in *.o | *.d) continue ;; esac
    case $test in "$build"/*) [ -f "$test" ] && [ -x "$test" ] || continue ;; esac
    wanted "$test" "$@" && tests+=("$test")
done
if [ ${#tests[@]} = 0 ]; then
    echo "no tests below $build"
    exit 1
fi

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
export -f run_one
export build limit counts
printf '%s\0' "${tests[@]}" | xargs -0 -n 1 -P "${JOBS:-2}" bash -c 'run_one "$1"' run_one

read -r passed failed skipped runs < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0, NR }' "$counts")
if [ "$runs" != ${#tests[@]} ]; then
    echo "---- $((${#tests[@]} - runs)) tests were not run to their end"
    failed=$((failed + 1))
fi
if [ "$skipped" != 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ]
