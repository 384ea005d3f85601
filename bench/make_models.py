#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the networks that the benchmarks serve and quantize.

    /usr/bin/python3 bench/make_models.py [BIG_DIR]        (Debian: python3-onnx, python3-numpy)

bench/models/mlp.onnx (32-64-64-3, 26 kB) is committed. BIG_DIR/mlp_big.onnx (512-2048-2048-16,
21 MB), BIG_DIR/mlp_huge.onnx (512-8192-8192-16, 286 MB) and those that `make bench-quantize` takes
(perceptrons of three sizes, cnn, transformer, lstm, each with rows in NAME.npy) are not; BIG_DIR is
build/bench/models unless given. The weights are random, with a seed: what
is measured is the time, which does not depend on them. They are scaled as for training (He), so
that no value overflows or becomes subnormal.
"""

import pathlib
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent


def mlp(widths, seed):
    """input FP32 [N, first width] → Relu layers, Softmax → probabilities FP32 [N, last width]."""
    random = np.random.RandomState(seed)
    nodes, weights, last = [], [], "input"
    layers = len(widths) - 1
    for k, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
        w = (random.standard_normal((fan_in, fan_out)) * np.sqrt(2.0 / fan_in)).astype(np.float32)
        b = (random.standard_normal(fan_out) * 0.1).astype(np.float32)
        weights += [
            numpy_helper.from_array(w, f"weight{k}"),
            numpy_helper.from_array(b, f"bias{k}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"weight{k}", f"bias{k}"], [f"sum{k}"]))
        if k < layers - 1:
            nodes.append(helper.make_node("Relu", [f"sum{k}"], [f"hidden{k}"]))
            last = f"hidden{k}"
        else:
            nodes.append(helper.make_node("Softmax", [f"sum{k}"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", widths[0]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", widths[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def dense(random, *shape):
    """Weights as training begins with them: He's scale for what comes in."""
    fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
    return (random.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)


def finish(name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def cnn(seed, channels=(32, 64, 128, 256), classes=10):
    """x FP32 [N, 3, 32, 32] → two 3×3 convolutions with Relu a stage, halved between → classes."""
    random = np.random.RandomState(seed)
    make, constants, nodes, last, n_in = helper.make_node, {}, [], "x", 3
    for stage, n_out in enumerate(channels):
        for k in (0, 1):
            name = f"conv{stage}{k}"
            constants[f"{name}_w"] = dense(random, n_out, n_in, 3, 3)
            constants[f"{name}_b"] = (random.standard_normal(n_out) * 0.1).astype(np.float32)
            nodes.append(make("Conv", [last, f"{name}_w", f"{name}_b"], [name], name=name, pads=[1, 1, 1, 1]))
            nodes.append(make("Relu", [name], [f"{name}_relu"]))
            last, n_in = f"{name}_relu", n_out
        nodes.append(make("MaxPool", [last], [f"pool{stage}"], kernel_shape=[2, 2], strides=[2, 2]))
        last = f"pool{stage}"
    constants["out_w"] = dense(random, n_in, classes)
    constants["out_b"] = np.zeros(classes, np.float32)
    nodes += [
        make("GlobalAveragePool", [last], ["average"]),
        make("Flatten", ["average"], ["features"]),
        make("Gemm", ["features", "out_w", "out_b"], ["logits"], name="out"),
    ]
    return finish("cnn", nodes, [("x", TensorProto.FLOAT, ["N", 3, 32, 32])], [("logits", ["N", classes])], constants)


def transformer(seed, layers=4, width=256, heads=4, length=32, words=1000, classes=5):
    """ids INT64 [N, 32] → embedding → blocks of attention and feed-forward → classes."""
    random = np.random.RandomState(seed)
    make, nodes, last = helper.make_node, [], "embedded"
    constants = {
        "table": random.standard_normal((words, width)).astype(np.float32),
        "split": np.array([0, length, heads, width // heads]),
        "join": np.array([0, length, width]),
        "scale": np.float32(1 / np.sqrt(width // heads)),
    }
    nodes.append(make("Gather", ["table", "ids"], ["embedded"], name="embed"))
    for layer in range(layers):
        p = f"l{layer}_"
        for part in "qkv":
            constants[f"{p}{part}_w"] = dense(random, width, width) * np.float32(0.7)
            nodes += [
                make("MatMul", [last, f"{p}{part}_w"], [f"{p}{part}"], name=f"{p}{part}"),
                make("Reshape", [f"{p}{part}", "split"], [f"{p}{part}_split"]),
                make("Transpose", [f"{p}{part}_split"], [f"{p}{part}_heads"],
                     perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]),
            ]
        constants[f"{p}o_w"] = dense(random, width, width) * np.float32(0.3)
        constants[f"{p}up_w"] = dense(random, width, 4 * width)
        constants[f"{p}up_b"] = np.zeros(4 * width, np.float32)
        constants[f"{p}down_w"] = dense(random, 4 * width, width) * np.float32(0.3)
        nodes += [
            make("MatMul", [f"{p}q_heads", f"{p}k_heads"], [f"{p}scores"]),
            make("Mul", [f"{p}scores", "scale"], [f"{p}scaled"]),
            make("Softmax", [f"{p}scaled"], [f"{p}weights"], axis=-1),
            make("MatMul", [f"{p}weights", f"{p}v_heads"], [f"{p}mixed"]),
            make("Transpose", [f"{p}mixed"], [f"{p}turned"], perm=[0, 2, 1, 3]),
            make("Reshape", [f"{p}turned", "join"], [f"{p}joined"]),
            make("MatMul", [f"{p}joined", f"{p}o_w"], [f"{p}o"], name=f"{p}o"),
            make("Add", [f"{p}o", last], [f"{p}attended"]),
            make("MatMul", [f"{p}attended", f"{p}up_w"], [f"{p}up"], name=f"{p}up"),
            make("Add", [f"{p}up", f"{p}up_b"], [f"{p}biased"]),
            make("Relu", [f"{p}biased"], [f"{p}relu"]),
            make("MatMul", [f"{p}relu", f"{p}down_w"], [f"{p}down"], name=f"{p}down"),
            make("Add", [f"{p}down", f"{p}attended"], [f"{p}out"]),
        ]
        last = f"{p}out"
    constants["out_w"] = dense(random, width, classes)
    nodes += [
        make("ReduceMean", [last], ["mean"], axes=[1], keepdims=0),
        make("Gemm", ["mean", "out_w"], ["logits"], name="out"),
    ]
    return finish("transformer", nodes, [("ids", TensorProto.INT64, ["N", length])], [("logits", ["N", classes])],
                  constants)


def lstm(seed, width=64, hidden=256, classes=3):
    """x FP32 [N, 20, 64] → LSTM over the 20 steps → classes."""
    random = np.random.RandomState(seed)
    make = helper.make_node
    constants = {
        "w": (random.standard_normal((1, 4 * hidden, width)) * 0.1).astype(np.float32),
        "r": (random.standard_normal((1, 4 * hidden, hidden)) * 0.06).astype(np.float32),
        "b": (random.standard_normal((1, 8 * hidden)) * 0.05).astype(np.float32),
        "first": np.array([0]),
        "out_w": dense(random, hidden, classes),
        "out_b": np.zeros(classes, np.float32),
    }
    nodes = [
        make("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        make("LSTM", ["steps", "w", "r", "b"], ["", "state"], name="lstm", hidden_size=hidden),
        make("Squeeze", ["state", "first"], ["last"]),
        make("Gemm", ["last", "out_w", "out_b"], ["logits"], name="out"),
    ]
    return finish("lstm", nodes, [("x", TensorProto.FLOAT, ["N", 20, width])], [("logits", ["N", classes])], constants)


def rows(path, array):
    """What a model is asked: written beside it."""
    np.save(path, array)


def write(path, raw):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    print(f"{path}: {len(raw)} bytes")


def main():
    big_dir = (
        pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "bench" / "models"
    )
    write(ROOT / "bench" / "models" / "mlp.onnx", mlp([32, 64, 64, 3], seed=1))
    write(big_dir / "mlp_big.onnx", mlp([512, 2048, 2048, 16], seed=2))
    write(big_dir / "mlp_huge.onnx", mlp([512, 8192, 8192, 16], seed=3))
    random = np.random.RandomState(4)
    for name, widths in (("mlp_32", [32, 64, 32, 3]), ("mlp_128", [128, 256, 128, 10]), ("mlp_512", [512, 1024, 1024, 10]),
                         ("mlp_big", [512, 2048, 2048, 16])):
        if name != "mlp_big":
            write(big_dir / f"{name}.onnx", mlp(widths, seed=5))
        rows(big_dir / f"{name}.npy", random.standard_normal((512, widths[0])).astype(np.float32))
    write(big_dir / "cnn.onnx", cnn(seed=6))
    rows(big_dir / "cnn.npy", random.standard_normal((256, 3, 32, 32)).astype(np.float32))
    write(big_dir / "transformer.onnx", transformer(seed=7))
    rows(big_dir / "transformer.npy", random.randint(0, 1000, (256, 32)))
    write(big_dir / "lstm.onnx", lstm(seed=8))
    rows(big_dir / "lstm.npy", random.standard_normal((256, 20, 64)).astype(np.float32))


if __name__ == "__main__":
    main()
