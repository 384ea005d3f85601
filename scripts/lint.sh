#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All that a machine can say of the sources; every check runs, then the script fails if one did.
set -eu

cd "$(dirname "$0")/.."
failed=""

check() { # NAME COMMAND...
    name=$1
    shift
    printf 'lint: %s\n' "$name"
    "$@" || failed="$failed $name"
}

format() { git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror; }

warnings() { # COMPILER: builds into a directory of its own with -Werror
    CC=$1 sh scripts/build.sh "build/lint-$1" -Dtests=true -Dwerror=true
}

tidy() {
    # Generated code is not ours to tidy; the rest is every C file of src/.
    git ls-files 'src/*.c' | xargs -P 2 -n 4 clang-tidy --quiet -p build/lint-clang 2>build/tidy.err ||
        { grep -vE 'warnings (generated|treated)|Suppressed|Use -header-filter' build/tidy.err >&2; return 1; }
}

cpp_check() {
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=scripts/cppcheck.suppressions -j 2 -D_GNU_SOURCE -Iinclude -Isrc src
}

check includes python3 -B scripts/check_includes.py
check format format
check gcc warnings gcc
check clang warnings clang
check clang-tidy tidy
check cppcheck cpp_check

if [ -n "$failed" ]; then
    echo "lint: FAILED:$failed"
    exit 1
fi
echo "lint: all is well"
