# SPDX-License-Identifier: Apache-2.0
"""Scales, zero points and bytes beside onnxruntime.quantization's: equal to the last bit."""
import itertools
import types

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import qdq_quantizer, quant_utils

FORMS = list(itertools.product((np.int8, np.uint8), (False, True), (False, True)))
ONNX_TYPES = {np.int8: onnx.TensorProto.INT8, np.uint8: onnx.TensorProto.UINT8}
FLOAT_MAX = float(np.finfo(np.float32).max)
FLOAT_MIN = float(np.finfo(np.float32).tiny)


def form_name(form):
    dtype, symmetric, reduced = form
    return f"{dtype.__name__}{'-symmetric' * symmetric}{'-reduced' * reduced}"


def check(probe, x, form):
    """x: [outer][channels][inner]; one scale per channel."""
    dtype, symmetric, reduced = form
    scales, zero_points, q = probe.weights(x, dtype, symmetric, reduced)
    for c in range(x.shape[1]):
        zero_point, scale, wanted = quant_utils.quantize_data(
            x[:, c, :].ravel(), ONNX_TYPES[dtype], symmetric, reduced
        )
        assert scale.dtype == np.float32
        assert (scales[c], zero_points[c]) == (scale, zero_point), x[:, c, :]
        np.testing.assert_array_equal(q[:, c, :].ravel(), wanted)


def finite(x):
    return np.clip(x, -FLOAT_MAX, FLOAT_MAX).astype(np.float32)


def drawn(random, shape):
    """Tensors of every shape of distribution and every magnitude a float32 has."""
    magnitude = 10.0 ** random.uniform(-44, 38.6) if random.integers(2) else 1.0
    x = random.standard_normal(shape) * magnitude
    return finite((x, np.abs(x), -np.abs(x), np.full(shape, magnitude), x**3 / magnitude**2)[random.integers(5)])


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_random_tensors(probe, form):
    random = np.random.default_rng(1)
    for _ in range(400):
        shape = (random.integers(1, 5), random.integers(1, 60), random.integers(1, 60))
        check(probe, drawn(random, shape), form)
        check(probe, drawn(random, (random.integers(1, 60), random.integers(1, 60), 1)), form)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_a_scale_for_the_whole_tensor(probe, form):
    random = np.random.default_rng(2)
    for n in (1, 2, 31, 32, 33, 1000, 100003):
        check(probe, drawn(random, (1, 1, n)), form)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_the_edges_of_the_numbers(probe, form):
    around_the_least_scale = [np.float32(n * FLOAT_MIN) for n in (1, 64, 127, 128, 254, 255, 256)]
    around_the_least_scale += [np.nextafter(x, np.float32(0)) for x in around_the_least_scale]
    for value in [0.0, -0.0, 1e-45, FLOAT_MIN, 1.0, FLOAT_MAX, *around_the_least_scale]:
        for other in (0.0, 1.0, -1.0, 0.5, -0.25):
            x = np.array([value, float(value) * other], np.float32).reshape(1, 1, 2)
            check(probe, x, form)
            check(probe, -x, form)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_values_between_two_bytes(probe, form):
    """Halves of the step and their neighbours, where a product by 1/scale would be one off."""
    random = np.random.default_rng(3)
    for _ in range(50):
        step = np.float32(10.0 ** random.uniform(-6, 6))
        halves = (np.arange(-300, 301) / 2).astype(np.float32) * step
        x = np.concatenate([halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(np.inf))])
        check(probe, x.reshape(1, 1, -1), form)


def wanted_bias(data, input_scale, weight_scales, per_channel):
    """By the methods of that tool's QDQ quantizer, which need no more of it than this."""
    tensor = onnx.numpy_helper.from_array(data, "bias")
    weight_scales = weight_scales.copy() if per_channel else weight_scales.reshape(())
    raised, scales = qdq_quantizer.QDQQuantizer._adjust_weight_scale_for_int32_bias(
        None, np.array(input_scale), weight_scales, "weight", tensor, per_channel
    )
    weight_scales = scales if raised else weight_scales
    added = []
    quantizer = types.SimpleNamespace(
        model=types.SimpleNamespace(initializer=lambda: [tensor], initializer_extend=added.extend),
        weight_qType=onnx.TensorProto.INT8,
    )
    qdq_quantizer.QDQQuantizer.quantize_bias_static_impl(quantizer, "bias", np.array(input_scale), weight_scales)
    q, scale = (onnx.numpy_helper.to_array(a) for a in added[:2])
    return np.asarray(weight_scales, np.float32).reshape(-1), scale.reshape(-1), q


def test_biases(probe):
    random = np.random.default_rng(4)
    n_raised = 0
    for i in range(3000):
        per_channel = bool(i % 2)
        data = (random.standard_normal(random.integers(1, 40)) * 10.0 ** random.uniform(-6, 6)).astype(np.float32)
        input_scale = np.float32(10.0 ** random.uniform(-8, 2))
        weight_scales = (10.0 ** random.uniform(-8, 2, data.size if per_channel else 1)).astype(np.float32)
        wanted = wanted_bias(data, input_scale, weight_scales, per_channel)
        for got, expected in zip(probe.bias(data, input_scale, weight_scales, per_channel), wanted):
            np.testing.assert_array_equal(got, expected)
        n_raised += np.any(wanted[0] != weight_scales)
    assert n_raised > 100
