#!/bin/bash
# Checks the model of the delivery protocol, delivery.pml, with spin: model.sh BUILD
# Whole state spaces on one core and within 1 GB; then each deliberate fault must be found.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
if ! command -v spin >/dev/null; then
    echo "skip model: spin is not installed (Debian: apt-get install spin)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0 failed=0

# verify KIND DEFINES... : what spin found, in `out`. KIND: SAFETY (assertions, ends) or NP (cycles without progress).
verify() {
    local kind=$1 search=
    shift
    [ "$kind" = NP ] && search=-l
    rm -f pan* ./*.trail
    spin "$@" -a "$here/delivery.pml" >spin.out 2>&1 && "${CC:-gcc}" -w ${opt:--O2} -D"$kind" -DHC4 -DNOFAIR -DMEMLIM=1000 -o pan pan.c >cc.out 2>&1 || {
        out=$(cat spin.out cc.out 2>/dev/null)
        return
    }
    out=$(timeout 120 ./pan $search -m300000 2>&1)
}

tell() {
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
        echo "ok   $2"
    else
        failed=$((failed + 1))
        echo "FAIL $2"
        grep -v unreached <<<"$out" | head -n 20
    fi
}

holds() {
    local name=$1
    shift
    verify "$@"
    grep -q 'errors: 0' <<<"$out" && ! grep -qE 'MEMLIM|too small|Search not completed' <<<"$out"
    tell $? "$name"
}

finds() {
    local name=$1 text=$2
    shift 2
    opt=-O0 verify SAFETY "$@"
    grep -qF "$text" <<<"$out"
    tell $? "$name"
}

holds "2 batches, 1 death: none lost, none committed twice, no slot written while in use, it ends"  SAFETY -DBATCHES=2 -DDEATHS=1
holds "1 batch, 2 deaths: the same"                                                                 SAFETY -DBATCHES=1 -DDEATHS=2
holds "no endless round once deaths end"                                                            NP -DBATCHES=1 -DDEATHS=1
finds "found: a slot used again before everybody let go of it" "assertion violated (((("            -DBATCHES=2 -DDEATHS=1 -DFAULT_NO_FENCE
finds "found: sent noted after the header left loses a batch" "invalid end state"                   -DBATCHES=1 -DDEATHS=1 -DFAULT_SENT_AFTER
finds "found: a batch that comes again is committed again" "journal[b]==1"                          -DBATCHES=1 -DDEATHS=1 -DFAULT_NO_DEDUP
finds "found: a reader named before its death is settled is connected twice" "credit[x]"            -DBATCHES=1 -DDEATHS=2 -DFAULT_EARLY_ENDPOINT
echo "$passed passed, $failed failed"
[ $failed = 0 ]
