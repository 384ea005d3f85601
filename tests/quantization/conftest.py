# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of src/quantize as Python functions (the other end of quantize_probe's pipe), and the program."""
import importlib.util
import os
import pathlib
import subprocess

import numpy as np
import pytest

_PATH = pathlib.Path(__file__).resolve().parents[1] / "e2e" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("e2e_fixtures", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

pacer, run = _MODULE.pacer, _MODULE.run

METHODS = {"minmax": 0, "percentile": 1, "entropy": 2}
TYPES = {np.dtype(np.int8): 0, np.dtype(np.uint8): 1}


class Probe:
    def __init__(self):
        self.process = subprocess.Popen(
            [os.environ["QUANTIZE_PROBE"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, line, *arrays):
        self.process.stdin.write(line.encode() + b"\n")
        for array in arrays:
            self.process.stdin.write(np.ascontiguousarray(array, dtype=np.float32).tobytes())
        self.process.stdin.flush()

    def read(self, dtype, n):
        dtype = np.dtype(dtype)
        data = self.process.stdout.read(n * dtype.itemsize)
        assert len(data) == n * dtype.itemsize, "quantize_probe ended"
        return np.frombuffer(data, dtype)

    def weights(self, x, dtype, symmetric, reduced):
        """x: [outer][channels][inner]. Scales, zero points, bytes."""
        outer, channels, inner = x.shape
        self.ask(f"weights {TYPES[np.dtype(dtype)]} {symmetric:d} {reduced:d} {outer} {channels} {inner}", x)
        scales = self.read([("scale", np.float32), ("zero_point", np.int32)], channels)
        return scales["scale"], scales["zero_point"], self.read(dtype, x.size).reshape(x.shape)

    def bias(self, data, input_scale, weight_scales, per_channel):
        """The weights' scales, raised; the bias's scales; its int32."""
        self.ask(f"bias {data.size} {per_channel:d}", [input_scale], data, weight_scales)
        n = weight_scales.size
        return self.read(np.float32, n), self.read(np.float32, n), self.read(np.int32, data.size)

    def range(self, chunks, method, symmetric=False, bins=0, quantized=0, percentile=0.0, passes=1):
        sizes = " ".join(str(chunk.size) for chunk in chunks)
        self.ask(
            f"ranges {METHODS[method]} {symmetric:d} {bins} {quantized} {percentile!r} {passes} {len(chunks)} {sizes}",
            *chunks,
        )
        return tuple(self.read(np.float32, 2))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0


@pytest.fixture(scope="session")
def probe():
    probe = Probe()
    yield probe
    probe.close()
