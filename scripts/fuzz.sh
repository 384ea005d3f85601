#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target for a while on a copy of its corpus: scripts/fuzz.sh BUILD_DIR SECONDS
set -eu

cd "$(dirname "$0")/.."
dir=$1
seconds=$2
failed=0
for target in "$dir"/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target" | sed 's/^fuzz_//')
    work=$dir/work/$name
    mkdir -p "$work"
    echo "fuzz: $name for $seconds s"
    if (cd "$work" && ASAN_OPTIONS=detect_leaks=1 "$OLDPWD/$target" -max_total_time="$seconds" -rss_limit_mb=2048 \
        -timeout=10 -print_final_stats=1 . "$OLDPWD/tests/fuzz/corpus/$name") >"$dir/$name.log" 2>&1; then
        grep -E 'stat::number_of_executed_units|stat::average_exec_per_sec' "$dir/$name.log" | sed 's/^/  /'
    else
        failed=$((failed + 1))
        grep -E 'ERROR|SUMMARY|Test unit written' "$dir/$name.log" | sed 's/^/  /'
        echo "fuzz: $name FAILED; the log is $dir/$name.log, the input in $work"
    fi
done
[ "$failed" = 0 ]
