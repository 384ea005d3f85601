#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what pacer needs and nothing else: scripts/setup.sh GROUP...   (build test lint fuzz bench)
#
# A group's packages are listed in scripts/setup/packages.GROUP and packages.GROUP.debianN. What Debian 12 lacks is
# taken from Debian 13 (debian13.lock). ONNX Runtime itself is the official build from npm (npm.lock) on both: Debian
# 13's own is linked to a second copy of the operator schemas and prints a thousand lines at every start, and it loads
# external data from any path. All of that goes into build/deps, a private prefix: neither the system's libraries nor
# apt's own sources are touched. With everything in place it asks no network and takes a fraction of a second.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
here=$root/scripts/setup
deps=$root/build/deps
step="starting"

say() { printf 'setup: %s\n' "$*"; }

# die CAUSE REMEDY: the three things a person needs: the step, the cause, the remedy.
die() {
    printf 'setup: FAILED while %s\n  cause:  %s\n  remedy: %s\n' "$step" "$1" "$2" >&2
    exit 1
}

# Sets $sudo to what makes a command run as root. Asked here, where sudo's prompt can be seen.
need_root() {
    sudo=
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null 2>&1 ||
        die "installing$missing needs root, and there is no sudo" \
            "run this once as root: sh scripts/setup.sh $groups"
    sudo -v || die "sudo refused" "run this once as root: sh scripts/setup.sh $groups"
    sudo=sudo
}

# quietly COMMAND...: runs it and keeps what it printed; on failure $last holds the lines that tell why.
quietly() {
    mkdir -p "$root/build"
    if "$@" >"$root/build/setup.log" 2>&1; then return 0; fi
    last=$(grep -E '^(E:|W: Failed|npm (err|ERR))' "$root/build/setup.log" | head -n 4 | tr '\n' ' ')
    [ -n "$last" ] || last=$(tail -n 3 "$root/build/setup.log" | tr '\n' ' ')
    return 1
}

detect_debian() {
    step="looking at this machine"
    [ -r /etc/os-release ] || die "no /etc/os-release" "use Debian 12 or 13"
    release=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-unstable}")
    case "$release" in
        "debian 12"*) debian=12 ;;
        "debian 13"*) debian=13 ;;
        *) die "this is '$release'; pacer is built on Debian 12 and 13" \
               "use one of them, or install what scripts/setup/packages.* lists by hand and run meson yourself" ;;
    esac
    arch=$(dpkg --print-architecture)
    case "$arch" in
        amd64) npm_arch=x64 sha_field=3 ;;
        arm64) npm_arch=arm64 sha_field=4 ;;
        *) die "architecture $arch" "use amd64 or arm64" ;;
    esac
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

list_packages() { # FILE
    [ -r "$1" ] && sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1" || true
}

# A command that is there by other means (npm from nodejs.org) needs no package.
provided() { installed "$1" || { [ "$1" = npm ] && command -v npm >/dev/null 2>&1; }; }

install_packages() { # GROUP
    step="installing the $1 packages"
    missing=""
    for package in $(list_packages "$here/packages.$1") $(list_packages "$here/packages.$1.debian$debian"); do
        [ "$package" = npm ] && [ -e "$deps/lib/libonnxruntime.so" ] && continue
        provided "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "$1: packages are there"
        return
    fi
    need_root
    say "$1: installing$missing"
    stale=
    # shellcheck disable=SC2086
    quietly $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o APT::Update::Error-Mode=any update || {
        stale=" (before that, apt-get update: $last)"
        say "$1: 'apt-get update' failed: $last"
        say "$1: going on with the package lists this machine has"
    }
    # shellcheck disable=SC2086
    quietly $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install $missing ||
        die "apt-get: $last$stale" \
            "check that this machine reaches its Debian mirror, then run the command again; the whole log is build/setup.log"
    say "$1: packages installed"
}

checked() { # FILE SHA256
    printf '%s  %s\n' "$2" "$1" | sha256sum --check --status -
}

# apt with lists, cache and sources of its own, so that Debian 13 never enters the machine's own.
apt13() { # COMMAND...
    tool=$1
    shift
    "$tool" -q -o Dir::State::Lists="$deps/apt/lists" -o Dir::State::status=/dev/null \
        -o Dir::Etc::SourceList="$deps/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Cache="$deps/apt/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o APT::Architecture="$arch" "$@"
}

mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian|Debian|//p' | head -n 1
}

# What of debian13.lock this release needs: Debian 13 has the libraries and lacks only the header, because the package
# that holds it would bring its own ONNX Runtime along.
lock_lines() {
    if [ "$debian" = 13 ]; then
        list_packages "$here/debian13.lock" | grep '^libonnxruntime-dev '
    else
        list_packages "$here/debian13.lock"
    fi
}

fetch_debian13() {
    # The .pc files hold the folder's path, so a moved checkout fetches anew.
    wanted=$({ lock_lines; echo "$deps"; } | cksum | cut -d' ' -f1)
    [ "$(cat "$deps/.debian13" 2>/dev/null)" = "$wanted" ] && return
    step="fetching packages of Debian 13"
    from=$(mirror)
    [ -n "$from" ] || die "apt knows no Debian mirror (no package lists yet?)" "run 'apt-get update' and try again"
    say "build: taking from Debian 13 by this machine's mirror: $(lock_lines | cut -d' ' -f1 | tr '\n' ' ')"
    mkdir -p "$deps/apt/lists/partial" "$deps/apt/cache/archives/partial" "$deps/apt/debs" "$deps/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from trixie main" >"$deps/apt/sources.list"
    quietly apt13 apt-get -o APT::Update::Error-Mode=any update ||
        die "apt-get update: $last" "check that the mirror of this machine's own sources carries Debian 13 (trixie)"
    lock_lines | while read -r package version sha_amd64 sha_arm64; do
        sha=$sha_amd64
        [ "$sha_field" = 4 ] && sha=$sha_arm64
        fetch_deb "$package" "$version" "$sha"
    done
    unpack_debian13
    echo "$wanted" >"$deps/.debian13"
    rm -rf "$deps/apt" "$deps/root"
}

fetch_deb() { # PACKAGE VERSION SHA256
    cd "$deps/apt/debs"
    if quietly apt13 apt-get download "$1=$2"; then
        file=$(ls "$1"_*.deb)
        checked "$file" "$3" ||
            die "$file is not the file scripts/setup/debian13.lock names (SHA-256 differs)" \
                "do not use it; tell the maintainers, or look at the mirror"
    else
        # A point release replaced it: then apt's own signature check stands in for the hash.
        quietly apt13 apt-get download "$1" ||
            die "apt-get download $1: $last" "check the network and run the command again"
        file=$(ls "$1"_*.deb)
        say "build: $1 $2 has left Debian 13; taking $file, which apt verified by Debian's signature"
    fi
    dpkg-deb -x "$file" "$deps/root"
    say "build: $file"
}

unpack_debian13() {
    triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    mkdir -p "$deps/include" "$deps/lib/pkgconfig"
    cp -R "$deps/root/usr/include/." "$deps/include/"
    for lib in yyjson llhttp hiredis hiredis_ssl; do
        for file in "$deps/root/usr/lib/$triplet/lib$lib.so"*; do
            [ -e "$file" ] && cp -P "$file" "$deps/lib/"
        done
    done
    for pc in yyjson libllhttp hiredis hiredis_ssl libonnxruntime; do
        [ -e "$deps/root/usr/lib/$triplet/pkgconfig/$pc.pc" ] || continue
        sed -e "s|^prefix=.*|prefix=$deps|" -e "s|^libdir=.*|libdir=$deps/lib|" \
            -e "s|^\(pkg\)\{0,1\}includedir=/usr/include|\1includedir=$deps/include|" \
            "$deps/root/usr/lib/$triplet/pkgconfig/$pc.pc" >"$deps/lib/pkgconfig/$pc.pc"
    done
}

fetch_onnxruntime() {
    # shellcheck disable=SC2046
    set -- $(list_packages "$here/npm.lock")
    [ "$(cat "$deps/.onnxruntime" 2>/dev/null)" = "$3" ] && return
    step="fetching ONNX Runtime $2 from npm"
    say "build: taking ONNX Runtime $2 (npm package $1, 114 MB, once)"
    mkdir -p "$deps/npm" "$deps/lib"
    cd "$deps/npm"
    rm -f ./*.tgz
    # A cache of its own: nothing is left in the user's home, and an unwritable home does no harm.
    quietly env npm_config_cache="$deps/npm/cache" npm pack --ignore-scripts "$1@$2" ||
        die "npm pack $1@$2: $last" "check that npm reaches its registry ('npm ping'), then run the command again"
    want=$(printf '%s' "${3#sha512-}" | base64 -d | od -An -v -tx1 | tr -d ' \n')
    printf '%s  %s\n' "$want" "$1-$2.tgz" | sha512sum --check --status - ||
        die "$1-$2.tgz is not the file scripts/setup/npm.lock names (SHA-512 differs)" \
            "do not use it; look at the registry npm is configured for ('npm config get registry')"
    tar -xzf "$1-$2.tgz" --wildcards "package/bin/*/linux/$npm_arch/libonnxruntime.so.1" ||
        die "the package holds no library for $npm_arch" "report it with the output of 'uname -m'"
    mv package/bin/*/linux/"$npm_arch"/libonnxruntime.so.1 "$deps/lib/"
    ln -sf libonnxruntime.so.1 "$deps/lib/libonnxruntime.so"
    cd "$root"
    rm -rf "$deps/npm"
    echo "$3" >"$deps/.onnxruntime"
    say "build: ONNX Runtime $2 is in build/deps"
}

groups=${*:-build}
detect_debian
for group in $groups; do
    [ -r "$here/packages.$group" ] || die "no group '$group'" "use: build test lint fuzz bench"
    install_packages "$group"
    if [ "$group" = build ]; then
        fetch_debian13
        fetch_onnxruntime
    fi
done
