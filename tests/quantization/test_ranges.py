# SPDX-License-Identifier: Apache-2.0
"""Ranges of calibration beside those of onnxruntime.quantization's collectors, from random tensors in several runs."""
import contextlib
import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime import quantization
from onnxruntime.quantization import calibrate, quant_utils

BINS_MAX = {"percentile": 50000, "entropy": 2500}  # of that tool: memory, and patience


def drawn(random, n, size):
    return (
        lambda: random.standard_normal(n),
        lambda: np.maximum(random.standard_normal(n), 0),
        lambda: random.uniform(-1, 1, n),
        lambda: random.standard_t(2, n),
        lambda: random.exponential(1, n),
        lambda: 1 / (1 + np.exp(-4 * random.standard_normal(n))),
        lambda: np.where(random.uniform(size=n) < 0.001, 30, 0.1) * random.standard_normal(n),
        lambda: np.full(n, random.uniform(-1, 1)) if random.integers(2) else np.zeros(n),
    )[random.integers(8)]().astype(np.float32) * np.float32(size)


def runs(random):
    size = 10.0 ** random.uniform(-6, 6)
    n = random.integers(1, 6)
    return [drawn(random, random.integers(1, 4000), size * random.uniform(0.5, 3)) for _ in range(n)]


def collected(chunks, method, symmetric, bins, quantized, percentile, together=False):
    """That tool's range and histogram; None: it could not make one of these tensors."""
    collector = calibrate.HistogramCollector(method, symmetric, bins, quantized, percentile, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            for data in [np.concatenate(chunks)] if together else chunks:
                collector.collect({"x": data})
            low, high = collector.compute_collection_result()["x"][:2]
        except (ValueError, AssertionError):
            return None
    if low > high:  # all values in one bin: the range of minmax
        low, high = min(chunk.min() for chunk in chunks), max(chunk.max() for chunk in chunks)
        if symmetric and method == "percentile":
            low, high = -max(-low, high), max(-low, high)
    return (np.float32(low), np.float32(high)), collector.histogram_dict["x"]


def too_many_bins(chunks, method, symmetric, bins):
    magnitudes = [np.abs(chunk) for chunk in chunks]
    least = magnitudes[0].min() if method == "percentile" and symmetric else 0
    width = (magnitudes[0].max() - least) or 1
    return max(m.max() for m in magnitudes) / width * bins > BINS_MAX[method]


@pytest.mark.parametrize("symmetric", (False, True), ids=("values", "magnitudes"))
def test_percentiles_run_by_run(probe, symmetric):
    random = np.random.default_rng(1)
    n_equal = n_lost = 0
    for _ in range(1500):
        chunks = runs(random)
        bins, percentile = random.choice((128, 2048)), random.choice((99.999, 99.99, 99.0, 95.0, 100.0))
        if too_many_bins(chunks, "percentile", symmetric, bins):
            continue
        there = collected(chunks, "percentile", symmetric, int(bins), 128, float(percentile))
        if there is None:
            continue
        wanted, (counts, *_) = there
        if counts.sum() != sum(chunk.size for chunk in chunks):
            n_lost += 1  # magnitudes outside its edges, which pacer counts
            continue
        assert probe.range(chunks, "percentile", symmetric, bins, 128, float(percentile)) == wanted
        n_equal += 1
    assert n_equal > 500
    assert symmetric or n_lost == 0


@pytest.mark.parametrize("symmetric", (False, True), ids=("values", "magnitudes"))
def test_percentiles_of_all_runs_together(probe, symmetric):
    """As quantize_static does it; two passes here."""
    random = np.random.default_rng(2)
    for _ in range(500):
        chunks = runs(random)
        there = collected(chunks, "percentile", symmetric, 2048, 128, 99.99, together=True)
        if there is not None:
            assert probe.range(chunks, "percentile", symmetric, 2048, 128, 99.99, passes=2) == there[0]


def divergences(counts, quantized):
    """Of each cut, by that tool's own functions, with sums that take no minutes."""
    middle, found = counts.size // 2, []
    for i in range(quantized // 2, middle + 1):
        start, end = middle - i, min(middle + i + 1, counts.size)
        kept = counts[start:end]
        p, size = kept.copy(), kept.size // quantized
        p[0] += counts[:start].sum()
        p[-1] += counts[end:].sum()
        groups = kept[: size * quantized].reshape(quantized, size).sum(1)
        groups[-1] += kept[size * quantized :].sum()
        filled = (p[: size * quantized] != 0).reshape(quantized, size).sum(1)
        means = np.divide(groups, filled, out=np.zeros(quantized), where=filled != 0).astype(np.int64)
        q = np.zeros_like(p)
        q[: size * quantized] = np.repeat(means, size)
        p, q = quant_utils.smooth_distribution(p), quant_utils.smooth_distribution(q)
        found.append(np.inf if p is None or q is None else float(calibrate.entropy(p, q)))
    return np.array(found)


@pytest.mark.parametrize("passes", (1, 2))
def test_the_cut_of_least_divergence(probe, passes):
    """Equal, but where that tool's float32 cannot tell the two cuts apart."""
    random = np.random.default_rng(3)
    n_equal = n_alike = 0
    for _ in range(300):
        chunks = runs(random)
        bins, quantized = ((128, 128), (256, 64), (512, 128), (1024, 128), (130, 32))[random.integers(5)]
        if too_many_bins(chunks, "entropy", False, bins):
            continue
        there = collected(chunks, "entropy", False, bins, quantized, 99.99, together=passes == 2)
        if there is None:
            continue
        wanted, (counts, edges, low, high, _) = there
        got = probe.range(chunks, "entropy", False, bins, quantized, passes=passes)
        if got == wanted:
            n_equal += 1
            continue
        found, middle = divergences(counts, quantized), counts.size // 2
        cuts = range(quantized // 2, middle + 1)
        ours = [
            d
            for d, i in zip(found, cuts)
            if got == (max(edges[middle - i], low), min(edges[min(middle + i + 1, counts.size)], high))
        ]
        assert ours, f"{got} is no cut; there: {wanted}"
        assert min(ours) - found.min() < 1e-6 * max(1, found.min())
        n_alike += 1
    assert n_equal > 150
    assert n_alike < n_equal / 10


def test_minmax(probe):
    random = np.random.default_rng(4)
    for _ in range(100):
        chunks = runs(random)
        everything = np.concatenate(chunks)
        low, high = everything.min(), everything.max()
        assert probe.range(chunks, "minmax") == (low, high)
        far = max(abs(low), abs(high))
        assert probe.range(chunks, "minmax", symmetric=True) == (-far, far)


class Rows(quantization.CalibrationDataReader):
    def __init__(self, chunks):
        self.left = iter(chunks)

    def get_next(self):
        chunk = next(self.left, None)
        return None if chunk is None else {"x": chunk}


@pytest.mark.parametrize("method", ("minmax", "percentile", "entropy"))
@pytest.mark.parametrize("symmetric", (False, True), ids=("asymmetric", "symmetric"))
def test_the_whole_tool(probe, tmp_path, method, symmetric):
    """Scale and zero point that quantize_static writes for the input of a MatMul, with its defaults."""
    random = np.random.default_rng(5)
    chunks = [(random.standard_normal((16, 8)) * (1 + i)).astype(np.float32) + 1 for i in range(20)]
    weight = random.standard_normal((8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [16, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [16, 4])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "in.onnx")
    methods = quantization.CalibrationMethod
    methods = {"minmax": methods.MinMax, "percentile": methods.Percentile, "entropy": methods.Entropy}
    with contextlib.redirect_stdout(io.StringIO()):
        quantization.quantize_static(
            tmp_path / "in.onnx",
            tmp_path / "out.onnx",
            Rows(chunks),
            calibrate_method=methods[method],
            activation_type=quantization.QuantType.QUInt8,
            extra_options={"CalibTensorRangeSymmetric": symmetric},
        )
    written = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    low, high = probe.range(chunks, method, symmetric, passes=2)
    ends = np.array([low, high], np.float32).reshape(1, 1, 2)
    scales, zero_points, _ = probe.weights(ends, np.uint8, False, False)
    assert (scales[0], zero_points[0]) == (written["x_scale"], written["x_zero_point"])
    scales, zero_points, q = probe.weights(weight.reshape(1, 1, -1), np.int8, True, False)
    assert scales[0] == written["w_scale"]
    np.testing.assert_array_equal(q.reshape(weight.shape), written["w_quantized"])
