#!/bin/bash
# The generated references are what the program says of itself now: tests/launch/test_docs.sh BUILD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
/usr/bin/python3 -B docs/generate.py "$1" "$tmp"
for f in pipeline.md stages.md; do
    if diff -u "docs/$f" "$tmp/$f"; then
        passed=$((passed + 1))
    else
        echo "FAIL docs/$f is not what \`make docs\` writes"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
