#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the multi-layer perceptrons that the benchmarks serve.

    /usr/bin/python3 bench/make_models.py [BIG_DIR]        (Debian: python3-onnx, python3-numpy)

bench/models/mlp.onnx (32-64-64-3, 26 kB) is committed. BIG_DIR/mlp_big.onnx (512-2048-2048-16,
21 MB) and BIG_DIR/mlp_huge.onnx (512-8192-8192-16, 286 MB) are not; BIG_DIR is build/bench/models
unless given. The weights are random, with a seed: what
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


if __name__ == "__main__":
    main()
