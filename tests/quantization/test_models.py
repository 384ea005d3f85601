# SPDX-License-Identifier: Apache-2.0
"""onnxruntime.quantization beside pacer quantize: the same scales, zero points and bytes for the same options.

Where they differ on purpose: pacer leaves what is behind the last layer in FP32, takes a Relu out where the range of
INT8 ends at zero anyway, and gives ConvInteger UINT8 weights, which is what its CPU kernel takes.
"""
import logging

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

logging.disable(logging.WARNING)
RANDOM = np.random.RandomState(11)


def weights(kind, *shape):
    array = RANDOM.standard_normal(shape).astype(np.float32)
    if kind == "skewed":
        array = np.exp(array)
    elif kind == "sparse":
        array[RANDOM.random_sample(shape) < 0.9] = 0
    elif kind == "tiny":
        array *= np.float32(1e-39)
    elif kind == "zero":
        array[:] = 0
    elif kind == "one channel":
        array[..., 0] *= 1000
    elif kind == "huge":
        array *= np.float32(3e37)
    return array


KINDS = ("normal", "skewed", "sparse", "tiny", "zero", "one channel", "huge")


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "test", [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs],
                              [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
                              [numpy_helper.from_array(a, n) for n, a in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def constants(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def assert_same(ours, theirs, names):
    for name in names:
        assert name in theirs, (name, sorted(theirs))
        a, b = ours[name], theirs[name]
        assert a.dtype == b.dtype and a.size == b.size and np.array_equal(a.reshape(b.shape), b), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel", (False, True))
@pytest.mark.parametrize("reduce_range", (False, True))
def test_products(run, tmp_path, kind, per_channel, reduce_range):
    model = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")],
                 [("x", ["N", 30])], [("y", ["N", 20])], {"w": weights(kind, 30, 20)})
    quantization.quantize_dynamic(model, tmp_path / "theirs.onnx", weight_type=quantization.QuantType.QInt8,
                                  per_channel=per_channel, reduce_range=reduce_range)
    more = ("--per-channel",) if per_channel else ()
    done = run("quantize", "--no-evidence", "--reduce-range", "on" if reduce_range else "off", *more, model,
               tmp_path / "ours.onnx")
    assert done.returncode == 0, done.stderr
    assert_same(constants(tmp_path / "ours.onnx"), constants(tmp_path / "theirs.onnx"),
                ("w_quantized", "w_scale", "w_zero_point"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduce_range", (False, True))
def test_convolutions(run, tmp_path, kind, reduce_range):
    model = save(tmp_path / "m.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], name="c", kernel_shape=[3, 3])],
                 [("x", ["N", 4, 8, 8])], [("y", ["N", 6, 6, 6])], {"w": weights(kind, 6, 4, 3, 3)})
    quantization.quantize_dynamic(model, tmp_path / "theirs.onnx", weight_type=quantization.QuantType.QUInt8,
                                  reduce_range=reduce_range)
    done = run("quantize", "--no-evidence", "--reduce-range", "on" if reduce_range else "off", model,
               tmp_path / "ours.onnx")
    assert done.returncode == 0, done.stderr
    assert_same(constants(tmp_path / "ours.onnx"), constants(tmp_path / "theirs.onnx"),
                ("w_quantized", "w_scale", "w_zero_point"))


def test_a_whole_network_gives_the_same_answers(run, tmp_path):
    """Gemm with everything it has: the graphs differ in names only, so the answers are equal bit by bit."""
    import onnxruntime
    nodes = [helper.make_node("Gemm", ["x", "w0", "b0"], ["s0"], name="g0", transB=1),
             helper.make_node("Relu", ["s0"], ["h0"]),
             helper.make_node("Gemm", ["h0", "w1", "b1"], ["y"], name="g1")]
    model = save(tmp_path / "m.onnx", nodes, [("x", ["N", 40])], [("y", ["N", 5])],
                 {"w0": weights("normal", 64, 40), "b0": weights("normal", 64),
                  "w1": weights("normal", 64, 5), "b1": weights("normal", 5)})
    quantization.quantize_dynamic(model, tmp_path / "theirs.onnx", weight_type=quantization.QuantType.QInt8)
    assert run("quantize", "--no-evidence", "--reduce-range", "off", model, tmp_path / "ours.onnx").returncode == 0
    rows = RANDOM.standard_normal((50, 40)).astype(np.float32)
    ours, theirs = (onnxruntime.InferenceSession(str(tmp_path / name)).run(None, {"x": rows})[0]
                    for name in ("ours.onnx", "theirs.onnx"))
    assert np.array_equal(ours, theirs)


class Rows(quantization.CalibrationDataReader):
    def __init__(self, rows):
        self.left = iter([{"x": rows}])

    def get_next(self):
        return next(self.left, None)


@pytest.mark.parametrize("method", ("minmax", "percentile"))
@pytest.mark.parametrize("per_channel", (False, True))
def test_ranges(run, tmp_path, method, per_channel):
    model = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w0"], ["h"], name="m0"),
                                       helper.make_node("MatMul", ["h", "w1"], ["y"], name="m1")],
                 [("x", ["N", 12])], [("y", ["N", 3])],
                 {"w0": weights("normal", 12, 16), "w1": weights("skewed", 16, 3)})
    rows = RANDOM.standard_t(3, (400, 12)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    how = {"minmax": quantization.CalibrationMethod.MinMax, "percentile": quantization.CalibrationMethod.Percentile}
    quantization.quantize_static(model, tmp_path / "theirs.onnx", Rows(rows), per_channel=per_channel,
                                 quant_format=quantization.QuantFormat.QDQ, calibrate_method=how[method])
    more = ("--per-channel",) if per_channel else ()
    done = run("quantize", "--no-evidence", "--reduce-range", "off", "--calibrate", tmp_path / "rows.npy", "--method",
               method, *more, model, tmp_path / "ours.onnx")
    assert done.returncode == 0, done.stderr
    ours, theirs = constants(tmp_path / "ours.onnx"), constants(tmp_path / "theirs.onnx")
    assert_same(ours, theirs, ("w0_quantized", "w0_scale", "w0_zero_point", "w1_quantized", "w1_scale"))
    for name in ("x", "h"):
        # A histogram's edges, summed up in another order.
        tolerance = 1e-6 if method == "minmax" else 2e-3
        assert abs(ours[f"{name}_scale"] / theirs[f"{name}_scale"] - 1) <= tolerance, name
        assert abs(int(ours[f"{name}_zero_point"]) - int(theirs[f"{name}_zero_point"])) <= (method != "minmax")
