#!/bin/bash
# The cuda executor on a card, within 8 minutes: check-gpu.sh BUILD. Plans that are timed go to a fresh folder, so that timing is checked as well.
build=${1:?usage: check-gpu.sh BUILD}
[ -x "$build/gpu/check" ] || { echo "skipped: no device (this build has no cuda executor)"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
FLOWRUN_CACHE=$tmp timeout --kill-after=10 470 "$build/gpu/check"
status=$?
[ $status -ne 124 ] || echo "check-gpu: not done after 470 s"
exit $status
