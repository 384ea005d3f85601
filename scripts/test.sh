#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs all tests of a build and ends with "N passed, N failed": scripts/test.sh BUILD_DIR
# Unit and corpus tests count by program, end-to-end tests by pytest's own count.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
dir=$1
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:$(: "${ASAN_OPTIONS:=}"; echo "$ASAN_OPTIONS")"
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp:halt_on_error=0:exitcode=66"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"

status=0
env -u MAKEFLAGS -u MAKELEVEL meson test -C "$dir" --no-rebuild --print-errorlogs || status=1
unit=$dir/meson-logs/testlog.json
passed=$(grep -c '"result": "OK"' "$unit" || true)
failed=$(grep -cE '"result": "(FAIL|TIMEOUT|ERROR|INTERRUPT|SKIP)"' "$unit" || true)

e2e=$dir/e2e.log
echo
echo "test: end to end, against $dir/pacer"
PACER_BIN=$root/$dir/pacer python3 -B -m pytest -q -p no:cacheprovider tests/e2e 2>&1 | tee "$e2e" || true
summary=$(grep -E '(passed|failed|error).* in [0-9.]+s' "$e2e" | tail -n 1)
count() { printf '%s' "$summary" | grep -oE "[0-9]+ $1" | grep -oE '^[0-9]+' || echo 0; }
e2e_passed=$(count passed)
e2e_failed=$(($(count failed) + $(count 'errors?')))
if [ "$e2e_passed" = 0 ] && [ "$e2e_failed" = 0 ]; then
    echo "test: pytest ran no test; see $e2e" >&2
    e2e_failed=1
fi

echo
echo "$((passed + e2e_passed)) passed, $((failed + e2e_failed)) failed"
[ "$status" = 0 ] && [ $((failed + e2e_failed)) = 0 ]
