#!/bin/bash
# The command line of flowrun: what it says and its exit status. test_cli.sh BUILD
build=$(cd "$1" && pwd) || exit 1
flowrun=$build/bin/flowrun
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0 failed=0

# want STATUS TEXT ARGUMENT... : flowrun's status, and a text that stdout or stderr must hold.
want() {
    local status=$1 text=$2 got rc
    shift 2
    got=$("$flowrun" "$@" 2>&1 </dev/null)
    rc=$?
    if [ $rc = "$status" ] && [[ $got == *"$text"* ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL flowrun $*: status $rc, want $status; want \"$text\" in:"
        echo "$got"
    fi
}

mkdir stages run
stage() {
    printf '#!/bin/sh\ncat <<END\n{"describe":1,"name":"%s","help":"%s","version":"1","options":[%s],"ports":[%s],"counters":["tiles"],"bind":{},"error":null}\nEND\n' \
        "$1" "$2" "$3" "$4" >"stages/$1"
    chmod +x "stages/$1"
}
id='{"name":"id","dtype":["u8"],"shape":["B","64"]}'
stage src "Makes tiles." '{"name":"batch","type":"int","default":"8","min":1,"max":64,"help":"tiles in a batch"},{"name":"threads","type":"int","default":"1"}' \
    '{"name":"out","dir":"out","tensors":['"$id"']}'
stage snk "Takes them." '{"name":"file","type":"out","default":null,"required":true,"help":"where to"}' '{"name":"in","dir":"in","many":true,"tensors":['"$id"']}'
export FLOWRUN_STAGES=$dir/stages
cat >good.yaml <<'Y'
stages:
  src:
  snk: {from: src, options: {file: out.csv}}
Y
cat >bad.yaml <<'Y'
seeds: 3
stages:
  src: {options: {batch: 65}}
  snk: {from: scr, options: {file: out.csv}}
Y
echo '{"file": "good.yaml", "window": 1, "stages": {"src": {}, "snk": {"from": ["src"], "options": {"file": "no/out.csv"}}}}' >run/config.json

want 0 "flowrun "                                             --version
want 0 "usage: flowrun FILE"                                  --help
for c in check plan chaos stages describe score completion; do
    want 0 "usage: flowrun $c"                                $c --help
    want 0 "$c"                                               --help
done
want 2 "want a FILE or a command"
want 2 "chek: no such command, and no such file (No such file or directory); did you mean check?" chek
want 2 "nothing.yaml: no such command, and no such file"      nothing.yaml
want 2 "unknown option --sett; did you mean --set?"           check --sett good.yaml
want 2 "unknown option --dot"                                 check --dot good.yaml
want 2 "--set wants STAGE.OPTION=VALUE"                       check good.yaml --set
want 2 "--dot takes no value"                                 plan good.yaml --dot=1
want 2 "one argument too many: b"                             check a b
want 2 "usage: flowrun check FILE"                            check
want 2 "none.yaml: No such file or directory"                 check none.yaml
want 0 "good.yaml: good: 2 stages, 2 processes, 8 tiles a batch, 6 batches in flight" check good.yaml
want 0 "16 tiles a batch"                                     check good.yaml --set src.batch=16
want 0 "16 tiles a batch"                                     check --set=src.batch=16 -- good.yaml
want 2 "--set src.batch=x: src: batch is text \"x\", want a whole number" check good.yaml --set src.batch=x
want 2 "bad.yaml:1:1: unknown key seeds; did you mean seed?
bad.yaml:3:26: src: batch is 65, want 1 to 64
bad.yaml:4:15: snk: no stage is called scr; did you mean src?" bad.yaml
want 0 "6 batches in flight x 4.1 kB = 24.6 kB in slabs, the bound is 1.0 GB" plan good.yaml
want 0 '"src" -> "snk" [label="id u8 [B=8 64]\l"];'           plan good.yaml --dot
want 0 "src              Makes tiles."                        stages
want 0 "tiles in a batch [1 to 64]"                           describe src
want 0 '"describe": 1'                                        describe src --json
want 0 "Makes tiles."                                         describe src --set threads=2
want 2 "--set batch=99: batch is 99, want 1 to 64"            describe src --set batch=99
want 2 "--set bach=9: unknown option bach; did you mean batch?" describe src --set bach=9
want 2 "no stage is called scr; did you mean src?"            describe scr
want 0 "Takes them."                                          describe ./stages/snk
want 2 "--resume RUN goes with neither --run nor --start"   good.yaml --resume run --run other
want 2 "run/id: No such file or directory"                 good.yaml --resume run
want 2 "--start x3: want a number from 0 up"               good.yaml --start x3
want 2 "--start 3: snk takes every batch of a run"         good.yaml --start 3
want 2 "nowhere is no run directory"                          --resume nowhere
want 2 "run/config.json:1:103: snk: file: no/out.csv can't be written: its folder does not exist" --resume run
want 0 "complete -o filenames -F _flowrun flowrun"            completion

# The completion, in a shell of its own: commands first, then the options of the command.
eval "$("$flowrun" completion)"
complete_as() { COMP_WORDS=("$flowrun" "$@") COMP_CWORD=$# COMPREPLY=(); _flowrun; echo "${COMPREPLY[*]}"; }
check() {
    if [ "$1" = "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL completion: $1, want $2"
    fi
}
check "$(complete_as des)" "describe"
check "$(complete_as plan --d)" "--dot"
check "$(complete_as describe sr)" "src"

# Output that can't be written is a failure.
"$flowrun" plan good.yaml >/dev/full 2>err
check "$? $(cat err)" "1 flowrun: can't write the output: No space left on device"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
