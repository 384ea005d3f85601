#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the models that the tests of decisions run, into models/ beside this script.

    /usr/bin/python3 tests/data/decide/make_models.py        (Debian: python3-onnx)

Nearly all are one classifier whose odds one can do by hand: two features, `up` and `down`; three
classes, rise, fall and stay; scores (up, down, 0), then softmax. The same inputs give the same
bytes: IR and opset versions are fixed, and there is neither a clock nor a random source.
"""

import json
import pathlib

from onnx import TensorProto, helper

MODELS = pathlib.Path(__file__).resolve().parent / "models"
CLASSES = ["rise", "fall", "stay"]
FP32, FP64, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


def info(name, element_type, shape):
    return helper.make_tensor_value_info(name, element_type, shape)


def metadata(features=("up", "down"), classes=CLASSES, baseline=(0.0, 0.0)):
    return {
        "pacer.features": json.dumps(list(features)),
        "pacer.classes": json.dumps(list(classes)),
        "pacer.baseline": json.dumps(dict(zip(features, baseline))),
    }


def write(name, nodes, inputs, outputs, props=None, constants=(), opset_ml=1):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", opset_ml)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if props:
        helper.set_model_props(model, props)
    (MODELS / name).write_bytes(model.SerializeToString(deterministic=True))


def classifier(source, columns=(0, 1), classes=CLASSES):
    """The classifier over `source`; `columns` says where up and down stand in its rows."""
    coefficients = [0.0] * 6
    coefficients[columns[0]] = 1.0  # rise, from up
    coefficients[2 + columns[1]] = 1.0  # fall, from down
    return helper.make_node(
        "LinearClassifier",
        [source],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        multi_class=1,
        post_transform="SOFTMAX",
        coefficients=coefficients,
        intercepts=[0.0, 0.0, 0.0],
        classlabels_strings=list(classes),
    )


def outputs(rows="N"):
    return [info("label", TensorProto.STRING, [rows]), info("probabilities", FP32, [rows, 3])]


def main():
    MODELS.mkdir(exist_ok=True)
    row = [info("input", FP32, ["N", 2])]
    write("trend.onnx", [classifier("input")], row, outputs(), metadata())
    # Its rows are (down, up), and its baselines are others.
    turned = metadata(("down", "up"), baseline=(2.0, 1.0))
    write("turned.onnx", [classifier("input", (1, 0))], row, outputs(), turned)
    other = ["rise", "fall", "flat"]
    props = metadata(classes=other)
    write("other.onnx", [classifier("input", classes=other)], row, outputs(), props)
    write("bare.onnx", [classifier("input")], row, outputs())
    garbled = {"pacer.features": "up, down", "pacer.classes": "[]", "pacer.baseline": "[0, 0]"}
    write("garbled.onnx", [classifier("input")], row, outputs(), garbled)
    single = [info("input", FP32, [1, 2])]
    write("single.onnx", [classifier("input")], single, outputs(1), metadata())

    cast = helper.make_node("Cast", ["input"], ["numbers"], to=FP32)
    whole = [info("input", INT64, ["N", 2])]
    write("counts.onnx", [cast, classifier("numbers")], whole, outputs(), metadata(baseline=(0, 0)))

    # Trend again, after two products of 256 × 256 zeros that are made from the input, so that
    # nothing can be worked out when the model is loaded.
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Expand", ["nothing", "size"], ["square"]),
        helper.make_node("MatMul", ["square", "square"], ["once"]),
        helper.make_node("MatMul", ["once", "square"], ["twice"]),
        helper.make_node("ReduceSum", ["twice"], ["still_nothing"], keepdims=0),
        helper.make_node("Add", ["input", "still_nothing"], ["same"]),
        classifier("same"),
    ]
    constants = [
        helper.make_tensor("zero", FP32, [], [0.0]),
        helper.make_tensor("size", INT64, [2], [256, 256]),
    ]
    write("dear.onnx", nodes, row, outputs(), metadata(), constants)

    # No metadata, and labels in an order that is not the alphabet's (stay, fall, rise): in the
    # attributes of a classifier, as whole numbers that an encoder names, as what ArgMax looks up,
    # and where nothing but a label output says it.
    bare = ["stay", "fall", "rise"]
    write("order.onnx", [classifier("input", classes=bare)], row, outputs())
    numbers = classifier("input")
    labels = next(a for a in numbers.attribute if a.name == "classlabels_strings")
    labels.CopyFrom(helper.make_attribute("classlabels_ints", [7, 3, 5]))
    numbers.output[0] = "number"
    names = helper.make_node("LabelEncoder", ["number"], ["label"], domain="ai.onnx.ml",
                             keys_int64s=[3, 5, 7], values_strings=["fall", "rise", "stay"])
    write("encoded.onnx", [numbers, names], row, outputs(), opset_ml=2)
    weights32 = helper.make_tensor("weights", FP32, [2, 3], [1, 0, 0, 0, 1, 0])
    softmax = [
        helper.make_node("MatMul", ["input", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
    ]
    texts = helper.make_tensor("classes", TensorProto.STRING, [3], [c.encode() for c in bare])
    look_up = helper.make_node("Gather", ["classes", "best"], ["label"])
    write("looked_up.onnx", softmax + [look_up], row, outputs(), constants=[weights32, texts])
    named = [helper.make_node("Identity", ["best"], ["same"]),
             helper.make_node("LabelEncoder", ["same"], ["label"], domain="ai.onnx.ml",
                              keys_int64s=[0, 1, 2], values_strings=bare)]
    write("labelled.onnx", softmax + named, row, outputs(), constants=[weights32], opset_ml=2)
    write("contrary.onnx", [classifier("input", classes=bare)], row, outputs(), metadata())
    regression = helper.make_node("LinearRegressor", ["input"], ["variable"], domain="ai.onnx.ml",
                                  coefficients=[1.0, 2.0], intercepts=[0.0])
    write("reg.onnx", [regression], row, [info("variable", FP32, ["N", 1])])

    # FP64 throughout; the only output has another name, and there is no metadata.
    weights = helper.make_tensor("weights", FP64, [2, 3], [1, 0, 0, 0, 1, 0])
    nodes = [
        helper.make_node("MatMul", ["input", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["odds"], axis=1),
    ]
    inputs = [info("input", FP64, ["N", 2])]
    write("double.onnx", nodes, inputs, [info("odds", FP64, ["N", 3])], constants=[weights])

    # Probabilities are what the features say; and x / x: NaN where x is 0, else 1.
    same = helper.make_node("Identity", ["input"], ["probabilities"])
    wide = ["N", "width"]
    write("echo.onnx", [same], [info("input", FP32, wide)], [info("probabilities", FP32, wide)])
    ratio = helper.make_node("Div", ["input", "input"], ["probabilities"])
    write("nan.onnx", [ratio], row, [info("probabilities", FP32, ["N", 2])])


main()
