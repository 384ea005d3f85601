#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Real clients of the v2 protocol against the built server: tritonclient from the Python registry, and perf_analyzer,
# whose last build for the registry is inside an older wheel of the same package. Not part of `make test`: it needs the
# registry. What cannot be had is named and skipped; what is there must pass.
#   tests/clients/run.sh [BUILD_DIR]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build}
here=$build/clients
log=$here/pip.log
mkdir -p "$here"

skip() {
    echo "test-clients: skipped: $1" >&2
    echo "test-clients: $2" >&2
    exit 0
}

if ! [ -x "$here/venv/bin/pip" ]; then
    echo "test-clients: making a Python environment in $here/venv"
    rm -rf "$here/venv"
    python3 -m venv "$here/venv" >"$log" 2>&1 ||
        skip "python3 cannot make a virtual environment" "apt-get install python3-venv; its words are in $log"
fi

echo "test-clients: asking the Python registry for tests/clients/requirements.txt"
"$here/venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/clients/requirements.txt" >"$log" 2>&1 ||
    skip "the Python registry did not give the clients" "its words are in $log"

# The old wheel is unpacked, never installed: its Python half would replace the current one.
wheel=$here/perf_analyzer
if ! [ -x "$wheel/perf_analyzer" ]; then
    echo "test-clients: unpacking perf_analyzer"
    rm -rf "$wheel"
    mkdir -p "$wheel/wheels" "$wheel/lib"
    if "$here/venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$wheel/wheels" \
        -r "$root/tests/clients/perf_analyzer.txt" >>"$log" 2>&1; then
        for file in "$wheel"/wheels/*.whl; do
            "$here/venv/bin/python" -m zipfile -e "$file" "$wheel/unpacked"
        done
        find "$wheel/unpacked" -name 'libcudart.so.*' -exec cp {} "$wheel/lib/" \;
        (cd "$wheel" && apt-get download -q libb64-0d >>"$log" 2>&1 && dpkg -x libb64-0d_*.deb unpacked) || true
        find "$wheel/unpacked" -name 'libb64.so.*' -exec cp {} "$wheel/lib/" \;
        find "$wheel/unpacked" -name perf_analyzer -type f -size +1M -exec cp {} "$wheel/perf_analyzer" \;
        chmod +x "$wheel/perf_analyzer" 2>/dev/null || true
        rm -rf "$wheel/unpacked" "$wheel/wheels"
    else
        echo "test-clients: no wheel with perf_analyzer; see $log" >&2
    fi
fi

PACER_BIN=${PACER_BIN:-$build/pacer} PERF_ANALYZER=$wheel/perf_analyzer PERF_ANALYZER_LIBS=$wheel/lib \
    exec "$here/venv/bin/python" -B -m pytest -q -rs -p no:cacheprovider "$root/tests/clients"
