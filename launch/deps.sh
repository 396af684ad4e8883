#!/bin/sh
# Installs the Debian packages the build or the tests need; silent when all are there.
#
#   sh launch/deps.sh "PKG-CONFIG NAMES" "DEBIAN PACKAGES"      the build: each name known to pkg-config, dnnl.h and zlib.h found
#   sh launch/deps.sh --check "DEBIAN PACKAGES"                 the tests: /usr/bin/python3 imports what they use, programs are there
set -eu

PYTHON=/usr/bin/python3          # Debian's own: packages below /usr/lib/python3 belong to it, not to another python3 in PATH
MODULES="numpy, msgpack, torch, torchvision, scipy, sklearn, pandas, tables, h5py, cv2, PIL, zmq, mypy"
PROGRAMS="spin valgrind gdb zstd ip nft sbatch munged"

say() { echo "deps: $*" >&2; }

have_build() {
    command -v "${CC:-cc}" >/dev/null 2>&1 || { why="no C compiler"; return 1; }
    command -v pkg-config >/dev/null 2>&1 || { why="no pkg-config"; return 1; }
    for p in $1; do
        pkg-config --exists "$p" || { why="no $p"; return 1; }
    done
    for h in dnnl.h zlib.h; do
        echo "#include <$h>" | "${CC:-cc}" -E -x c - >/dev/null 2>&1 || { why="no $h"; return 1; }
    done
}

have_check() {
    for p in $PROGRAMS; do
        command -v "$p" >/dev/null 2>&1 || [ -x "/usr/sbin/$p" ] || { why="no $p"; return 1; }
    done
    # Looks the modules up without running them: importing torch takes seconds.
    "$PYTHON" - "$MODULES" 2>/dev/null <<'END' || { why="$PYTHON can't import all of $MODULES"; return 1; }
import importlib.util, sys
sys.exit(any(importlib.util.find_spec(m) is None for m in sys.argv[1].split(", ")))
END
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        say "neither root nor sudo: as root, run: apt-get install $debs"
        exit 1
    fi
}

# Each line of apt's is kept back, and shown when it fails.
apt() {
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say "$why, and this is not Debian (no apt-get): install what Debian calls: $debs"
        exit 1
    fi
    say "$why: installing with apt-get: $debs"
    apt update -q || say "apt-get update failed, going on with the lists there are"
    # shellcheck disable=SC2086 # a list of names
    if ! apt install -y -q --no-install-recommends $debs; then
        say "apt-get could not install: $debs"
        exit 1
    fi
}

if [ $# != 2 ]; then
    say 'usage: deps.sh "PKG-CONFIG NAMES" "DEBS" | deps.sh --check "DEBS"'
    exit 2
fi
check=have_build
[ "$1" != --check ] || check=have_check
debs=$2
why=
"$check" "$1" && exit 0
install
"$check" "$1" || { say "$why, even after apt-get installed: $debs"; exit 1; }
