#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Configures (once, or when the options changed) and builds: scripts/build.sh BUILD_DIR [MESON_OPTION...]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dir=$1
shift
cd "$root"
# Debian 12's private prefix; on Debian 13 it is not there and pkg-config needs no help.
[ -d build/deps/lib/pkgconfig ] && set -- "$@" "--pkg-config-path=$root/build/deps/lib/pkgconfig"

want="$root ${CC:-cc} $*"
configured() { [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/.options" 2>/dev/null)" = "$want" ]; }
# With plain `make` any way of having configured build/ will do: `make test` has only added to it.
if [ "$dir" = build ] && [ -f build/build.ninja ]; then
    case " $* " in *" -Dtests=true "*) ;; *) want=$(cat build/.options 2>/dev/null || true) ;; esac
    case "$want" in "$root ${CC:-cc} "*) ;; *) want="$root ${CC:-cc} $*" ;; esac
fi
if ! configured; then
    echo "build: configuring $dir"
    mkdir -p "$dir"
    tests=-Dtests=false # `make` needs no test packages
    case " $* " in *" -Dtests="*) tests= ;; esac
    wipe=
    [ -f "$dir/build.ninja" ] && wipe=--reconfigure
    # shellcheck disable=SC2086
    if ! meson setup $wipe "$dir" $tests "$@" >"$dir/configure.log" 2>&1; then
        tail -n 15 "$dir/configure.log" >&2
        echo "build: configuring failed; the whole log is $dir/configure.log" >&2
        exit 1
    fi
    printf '%s' "$want" >"$dir/.options"
fi
echo "build: compiling $dir"
# `make -n` and friends hand down flags that ninja would not know.
NINJA_STATUS='build: [%f/%t] ' env -u MAKEFLAGS -u MAKELEVEL ninja -C "$dir"
