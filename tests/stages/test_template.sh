#!/bin/bash
# The template of docs/adding-a-stage.md becomes an executable outside the tree's own build, and describes itself. Argument: the build folder.
set -u
build=${1:-build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0

check() {
    local name=$1
    shift
    if "$@" >"$out/said" 2>&1; then
        echo "ok $name"
        passed=$((passed + 1))
    else
        echo "FAIL $name: $*"
        cat "$out/said"
        failed=$((failed + 1))
    fi
}

san=
case $build in *build-*) san="-fsanitize=$(basename "$build" | sed 's/^build-//; s/-/,/g')" ;; esac
# shellcheck disable=SC2086 # $san is one word or none
check builds ${CC:-cc} -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror $san -DFL_VERSION='"1"' -DFL_STAGE=fl_stage_temper runtime/stage_main.c \
    docs/template/temper.c "$build/libruntime.a" "$build/libproto.a" -lzmq -lyaml -lmsgpackc -ljansson -lz -lm -lpthread -o "$out/temper"
check describes_itself bash -c "'$out/temper' --describe --options '{\"power\":2}' | /usr/bin/python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d[\"describe\"] == 1 and d[\"name\"] == \"temper\" and d[\"error\"] is None, d
assert [o[\"name\"] for o in d[\"options\"]] == [\"power\"] and d[\"options\"][0][\"max\"] == 100, d
assert [p[\"dir\"] for p in d[\"ports\"]] == [\"in\", \"out\"] and d[\"counters\"] == [\"tiles\"], d
'"
check tells_a_bad_option bash -c "'$out/temper' --describe --options '{\"powre\":2}' | grep -q 'option powre: unknown, did you mean power'"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
