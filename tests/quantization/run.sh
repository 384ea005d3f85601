#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The arithmetic of quantization beside onnxruntime.quantization from the Python registry: the same scales, zero points,
# bytes and ranges. Not part of `make test`: it needs the registry. What cannot be had is named and skipped.
#   tests/quantization/run.sh [BUILD_DIR]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build}
here=$build/quantization
log=$here/pip.log
mkdir -p "$here"

skip() {
    echo "test-quantization: skipped: $1" >&2
    echo "test-quantization: $2" >&2
    exit 0
}

if ! [ -x "$here/venv/bin/pip" ]; then
    echo "test-quantization: making a Python environment in $here/venv"
    rm -rf "$here/venv"
    python3 -m venv "$here/venv" >"$log" 2>&1 ||
        skip "python3 cannot make a virtual environment" "apt-get install python3-venv; its words are in $log"
fi

echo "test-quantization: asking the Python registry for tests/quantization/requirements.txt"
"$here/venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/quantization/requirements.txt" >"$log" 2>&1 ||
    skip "the Python registry did not give onnxruntime" "its words are in $log"

PACER_BIN=${PACER_BIN:-$build/pacer} QUANTIZE_PROBE=${QUANTIZE_PROBE:-$build/tests/quantization/quantize_probe} \
    exec "$here/venv/bin/python" -B -m pytest -q -rs -p no:cacheprovider "$root/tests/quantization"
