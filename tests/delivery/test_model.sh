#!/bin/bash
# Checks the model of the delivery protocol, delivery.pml, with spin: test_model.sh BUILD
# Whole state spaces, each within 1 GB; then each deliberate fault must be found. FLOWRUN_LONG=1: any stage may die; else one at a time does.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
if ! command -v spin >/dev/null; then
    echo "skip model: spin is not installed (Debian: apt-get install spin)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
long=${FLOWRUN_LONG:-}
names=()

# Generates, builds and runs the search in a folder of its own; what it found goes to `out`. To compile with optimisation takes longer than the
# small searches. KIND: SAFETY (assertions, ends) or NP (cycles without progress).
verify() {
    local kind=$1 search= opt=-O0
    shift
    [ "$kind" = NP ] && search=-l
    [ -n "$long" ] && opt=-O2
    spin "$@" -a "$here/delivery.pml" >out 2>&1 && "${CC:-gcc}" -w "${fault:-$opt}" -D"$kind" -DHC4 -DNOFAIR -DMEMLIM=1000 -o pan pan.c >out 2>&1 &&
        timeout "${long:+1}200" ./pan $search -m300000 >out 2>&1
}

# Two searches at a time. want: what the search must say.
start() {
    local name=$1 want=$2 fault=$3
    shift 3
    [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
    names+=("$name")
    mkdir "$dir/${#names[@]}"
    (
        cd "$dir/${#names[@]}" || exit 1
        verify "$@"
        grep -qF -- "$want" out && { [ -n "$fault" ] || ! grep -qE 'MEMLIM|too small|Search not completed' out; } && touch good
    ) &
}

holds() { start "$1" 'errors: 0' '' "${@:2}"; }
finds() { start "$1" "$2" -O0 SAFETY "${@:3}"; }

if [ -n "$long" ]; then
    holds "2 batches, 1 death: none lost, none committed twice, no slot written while in use, it ends"  SAFETY -DBATCHES=2 -DDEATHS=1
    holds "1 batch, 2 deaths: the same"                                                                 SAFETY -DBATCHES=1 -DDEATHS=2
else
    holds "2 batches, the source dies: none lost, none committed twice, no slot written while in use, it ends" SAFETY -DBATCHES=2 -DDEATHS=1 -DMORTAL=0
    holds "2 batches, the middle stage dies: the same"                                                  SAFETY -DBATCHES=2 -DDEATHS=1 -DMORTAL=1
    holds "1 batch, the middle stage dies twice: the same"                                              SAFETY -DBATCHES=1 -DDEATHS=2 -DMORTAL=1
    holds "1 batch, any stage dies: the same"                                                           SAFETY -DBATCHES=1 -DDEATHS=1
fi
holds "no endless round once deaths end"                                                            NP -DBATCHES=1 -DDEATHS=1
finds "found: a slot used again before everybody let go of it" "assertion violated (((("            -DBATCHES=2 -DDEATHS=1 -DFAULT_NO_FENCE
finds "found: sent noted after the header left loses a batch" "invalid end state"                   -DBATCHES=1 -DDEATHS=1 -DFAULT_SENT_AFTER
finds "found: a batch that comes again is committed again" "journal[b]==1"                          -DBATCHES=1 -DDEATHS=1 -DFAULT_NO_DEDUP
finds "found: a reader named before its death is settled is connected twice" "credit[x]"            -DBATCHES=1 -DDEATHS=2 -DFAULT_EARLY_ENDPOINT
wait
passed=0 failed=0
for i in "${!names[@]}"; do
    if [ -e "$dir/$((i + 1))/good" ]; then
        passed=$((passed + 1))
        echo "ok   ${names[$i]}"
    else
        failed=$((failed + 1))
        echo "FAIL ${names[$i]}"
        grep -v unreached "$dir/$((i + 1))/out" | head -n 20
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
