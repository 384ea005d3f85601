#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small models of tests/data/models, and cases.json and README.md beside them.

    /usr/bin/python3 tests/data/make_models.py        (Debian: python3-onnx)

Every model is built node by node with fixed IR and opset versions and no clock or random source,
so running it again gives the same bytes. A good model comes with a case: inputs in the form of the
inference protocol (datatype, shape, flat row-major data) and the outputs they must give, worked out
here by hand or in plain Python and never by the runtime under test. A broken model comes without
one and must be refused when it is loaded.
"""

import json
import math
import pathlib

from onnx import TensorProto, ValueInfoProto, helper

MODELS = pathlib.Path(__file__).resolve().parent / "models"
OPSET, ML_OPSET, IR = 13, 1, 8

# Inference protocol's name → ONNX element type.
TYPES = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

# The ends of each type's range; what FP16 and BF16 hold exactly.
SAMPLES = {
    "BOOL": [True, False, False, True, True, True],
    "INT8": [-128, -1, 0, 1, 2, 127],
    "INT16": [-32768, -1, 0, 1, 2, 32767],
    "INT32": [-(2**31), -1, 0, 1, 2, 2**31 - 1],
    "INT64": [-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1],
    "UINT8": [0, 1, 2, 127, 128, 255],
    "UINT16": [0, 1, 2, 32767, 32768, 65535],
    "UINT32": [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1],
    "UINT64": [0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1],
    "FP16": [-65504.0, -0.5, 0.0, 0.25, 1.0, 65504.0],
    "BF16": [-256.0, -0.5, 0.0, 0.25, 1.0, 3.0],
    "FP32": [-16777216.0, -0.5, 0.0, 0.25, 1.0, 2.0**100],
    "FP64": [-0.1, -0.5, 0.0, 0.3, 1.0, 1e300],
    "BYTES": ["", "a", "Zürich", "two words", "日本", 'quote " and \\'],
}

described = []  # (section, file name, line of the README)
cases = []


# ---- building blocks ---------------------------------------------------------------------------


def value(name, datatype, shape):
    return helper.make_tensor_value_info(name, TYPES[datatype], shape)


def constant(name, datatype, shape, data):
    return helper.make_tensor(name, TYPES[datatype], shape, data)


def model_of(nodes, inputs, outputs, constants=(), opset=OPSET, ir=IR, domains=(), metadata=None):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(*d) for d in domains]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    if metadata:
        helper.set_model_props(model, metadata)
    return model


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def good(name, line, model, inputs, outputs):
    """Writes a model that must load, and a case that must give just these outputs."""
    (MODELS / name).write_bytes(model.SerializeToString(deterministic=True))
    described.append(("good", name, line))
    cases.append({"model": name[: -len(".onnx")], "inputs": inputs, "outputs": outputs})


def broken(name, line, content):
    """Writes a model that must be refused."""
    raw = content if isinstance(content, bytes) else content.SerializeToString(deterministic=True)
    (MODELS / name).write_bytes(raw)
    described.append(("broken", name, line))


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, **attributes)


# ---- good: types, names and shapes -------------------------------------------------------------


def identities():
    for datatype in TYPES:
        short = "string" if datatype == "BYTES" else datatype.lower()
        model = model_of(
            [node("Identity", ["INPUT0"], ["OUTPUT0"])],
            [value("INPUT0", datatype, ["rows", "columns"])],
            [value("OUTPUT0", datatype, ["rows", "columns"])],
        )
        data = SAMPLES[datatype]
        good(
            f"identity_{short}.onnx",
            f"INPUT0 {datatype} [-1,-1] → OUTPUT0, unchanged",
            model,
            [tensor("INPUT0", datatype, [2, 3], data)],
            [tensor("OUTPUT0", datatype, [2, 3], data)],
        )


def sums():
    inputs = [value(f"INPUT{k}", "INT32", ["batch", 16]) for k in (0, 1)]
    outputs = [value(f"OUTPUT{k}", "INT32", ["batch", 16]) for k in (0, 1)]
    nodes = [
        node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    a, b = list(range(16)), [1] * 16
    plus, minus = [x + y for x, y in zip(a, b)], [x - y for x, y in zip(a, b)]
    good(
        "simple.onnx",
        "INPUT0, INPUT1 INT32 [-1,16] → OUTPUT0 their sum, OUTPUT1 their difference",
        model_of(nodes, inputs, outputs),
        [tensor("INPUT0", "INT32", [1, 16], a), tensor("INPUT1", "INT32", [1, 16], b)],
        [tensor("OUTPUT0", "INT32", [1, 16], plus), tensor("OUTPUT1", "INT32", [1, 16], minus)],
    )
    string_sums(a, b, plus, minus)


def string_sums(a, b, plus, minus):
    nodes = [
        node("Cast", ["INPUT0"], ["a"], to=TensorProto.INT32),
        node("Cast", ["INPUT1"], ["b"], to=TensorProto.INT32),
        node("Add", ["a", "b"], ["sum"]),
        node("Sub", ["a", "b"], ["difference"]),
        node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.STRING),
        node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.STRING),
    ]
    model = model_of(
        nodes,
        [value(f"INPUT{k}", "BYTES", ["batch", 16]) for k in (0, 1)],
        [value(f"OUTPUT{k}", "BYTES", ["batch", 16]) for k in (0, 1)],
    )

    def text(name, numbers):
        return tensor(name, "BYTES", [1, 16], [str(n) for n in numbers])

    good(
        "simple_string.onnx",
        "the same with decimal numbers as BYTES; a string that is no number fails at run time",
        model,
        [text("INPUT0", a), text("INPUT1", b)],
        [text("OUTPUT0", plus), text("OUTPUT1", minus)],
    )


def mixed():
    kinds = ["FP32", "INT64", "BOOL", "BYTES"]
    names = [k.lower() for k in kinds]
    model = model_of(
        [node("Identity", [n], [f"{n}_out"]) for n in names],
        [value(n, k, ["batch", 2]) for n, k in zip(names, kinds)],
        [value(f"{n}_out", k, ["batch", 2]) for n, k in zip(names, kinds)],
    )
    data = [SAMPLES[k][1:5] for k in kinds]
    good(
        "mixed.onnx",
        "fp32, int64, bool and bytes, each [-1,2] of that type → NAME_out, unchanged",
        model,
        [tensor(n, k, [2, 2], d) for n, k, d in zip(names, kinds, data)],
        [tensor(f"{n}_out", k, [2, 2], d) for n, k, d in zip(names, kinds, data)],
    )


def elementwise(name, line, declared, shape, addend):
    """X FP32 of the declared shape → Y = X + addend; its case is 1, 2, 3 … in `shape`."""
    data = [float(k + 1) for k in range(math.prod(shape))]
    model = model_of(
        [node("Add", ["X", "addend"], ["Y"])],
        [value("X", "FP32", declared)],
        [value("Y", "FP32", declared)],
        [constant("addend", "FP32", [], [addend])],
    )
    outputs = [tensor("Y", "FP32", shape, [x + addend for x in data])]
    good(name, line, model, [tensor("X", "FP32", shape, data)], outputs)


def shapes():
    table = [
        ("plus1.onnx", "X FP32 [-1,4] → Y = X + 1", ["batch", 4], [1, 4], 1.0),
        (
            "plus2.onnx",
            "X FP32 [-1,4] → Y = X + 2: can be another version",
            ["batch", 4],
            [1, 4],
            2.0,
        ),
        ("fixed_batch.onnx", "X FP32 [1,4], no other batch → Y = X + 1", [1, 4], [1, 4], 1.0),
        ("vector.onnx", "X FP32 [4], no batch dimension → Y = X + 1", [4], [4], 1.0),
        ("scalar_input.onnx", "X FP32 [], a scalar → Y = X + 1", [], [], 1.0),
        ("unnamed_dims.onnx", "X FP32 [-1,-1], no names → Y = X + 1", [None, None], [2, 2], 1.0),
        ("no_shape.onnx", "X FP32 of an undeclared rank → Y = X + 1", None, [1, 2, 2], 1.0),
    ]
    for row in table:
        elementwise(*row)


def shared_dims():
    shape = ["batch", "width"]
    good(
        "shared_dims.onnx",
        "A, B FP32 [batch,width], the same two names in both → C = A + B",
        model_of(
            [node("Add", ["A", "B"], ["C"])],
            [value("A", "FP32", shape), value("B", "FP32", shape)],
            [value("C", "FP32", shape)],
        ),
        [
            tensor("A", "FP32", [2, 2], [1.0, 2.0, 3.0, 4.0]),
            tensor("B", "FP32", [2, 2], [10.0, 20.0, 30.0, 40.0]),
        ],
        [tensor("C", "FP32", [2, 2], [11.0, 22.0, 33.0, 44.0])],
    )


def few_inputs():
    three = constant("three", "FP32", [3], [1.0, 2.0, 3.0])
    good(
        "no_inputs.onnx",
        "no input at all → Y FP32 [3] = 1, 2, 3",
        model_of([node("Identity", ["three"], ["Y"])], [], [value("Y", "FP32", [3])], [three]),
        [],
        [tensor("Y", "FP32", [3], [1.0, 2.0, 3.0])],
    )
    good(
        "default_input.onnx",
        "X FP32 [-1,2] and an optional FACTOR FP32 [1], 10 where it is left out → Y = X · FACTOR",
        model_of(
            [node("Mul", ["X", "FACTOR"], ["Y"])],
            [value("X", "FP32", ["batch", 2]), value("FACTOR", "FP32", [1])],
            [value("Y", "FP32", ["batch", 2])],
            [constant("FACTOR", "FP32", [1], [10.0])],
        ),
        [tensor("X", "FP32", [1, 2], [1.5, -2.0])],
        [tensor("Y", "FP32", [1, 2], [15.0, -20.0])],
    )


# ---- good: outputs that need thought -----------------------------------------------------------


def classifier_nodes(**labels):
    """Scores are (x0, x1, 0), then softmax: three classes whose odds one can do by hand."""
    return node(
        "LinearClassifier",
        ["input"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        multi_class=1,
        post_transform="SOFTMAX",
        coefficients=[1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        intercepts=[0.0, 0.0, 0.0],
        **labels,
    )


def classifiers():
    ln2 = 0.6931471805599453  # scores ln 2, 0, 0 → odds 2 : 1 : 1
    inputs = [tensor("input", "FP32", [2, 2], [ln2, 0.0, 0.0, ln2])]
    odds = tensor("probabilities", "FP32", [2, 3], [0.5, 0.25, 0.25, 0.25, 0.5, 0.25])
    ml = [("ai.onnx.ml", ML_OPSET)]
    x, p = value("input", "FP32", ["N", 2]), value("probabilities", "FP32", ["N", 3])
    metadata = {
        "pacer.features": json.dumps(["up", "down"]),
        "pacer.classes": json.dumps(["rise", "fall", "stay"]),
        "pacer.baseline": json.dumps({"up": 0.0, "down": 0.0}),
        "pacer.source": json.dumps({"made_by": "tests/data/make_models.py"}),
    }
    good(
        "classifier.onnx",
        "input FP32 [-1,2] → label BYTES [-1], probabilities FP32 [-1,3]; has pacer's metadata",
        model_of(
            [classifier_nodes(classlabels_strings=["rise", "fall", "stay"])],
            [x],
            [value("label", "BYTES", ["N"]), p],
            domains=ml,
            metadata=metadata,
        ),
        inputs,
        [tensor("label", "BYTES", [2], ["rise", "fall"]), odds],
    )
    good(
        "classifier_int.onnx",
        "the same with labels INT64 (10, 20, 30) and no metadata",
        model_of(
            [classifier_nodes(classlabels_ints=[10, 20, 30])],
            [x],
            [value("label", "INT64", ["N"]), p],
            domains=ml,
        ),
        inputs,
        [tensor("label", "INT64", [2], [10, 20]), odds],
    )


def lengths():
    good(
        "nonzero.onnx",
        "X FP32 [-1,-1] → WHERE INT64 [2,-1], where X is not 0: as many as there are",
        model_of(
            [node("NonZero", ["X"], ["WHERE"])],
            [value("X", "FP32", ["rows", "columns"])],
            [value("WHERE", "INT64", [2, "found"])],
        ),
        [tensor("X", "FP32", [2, 3], [0.0, 5.0, 0.0, 1.0, 0.0, 2.0])],
        [tensor("WHERE", "INT64", [2, 3], [0, 1, 1, 1, 0, 2])],
    )
    good(
        "fill.onnx",
        "SHAPE INT64 [-1] → Y FP32 of that shape, all 7: few bytes in, any number out",
        model_of(
            [
                node(
                    "ConstantOfShape", ["SHAPE"], ["Y"], value=constant("seven", "FP32", [1], [7.0])
                )
            ],
            [value("SHAPE", "INT64", ["rank"])],
            [value("Y", "FP32", None)],
        ),
        [tensor("SHAPE", "INT64", [2], [2, 3])],
        [tensor("Y", "FP32", [2, 3], [7.0] * 6)],
    )
    fill_in_turn(4)
    good(
        "scalar_output.onnx",
        "X FP32 [-1] → SUM FP32 [], a scalar",
        model_of(
            [node("ReduceSum", ["X"], ["SUM"], keepdims=0)],
            [value("X", "FP32", ["n"])],
            [value("SUM", "FP32", [])],
        ),
        [tensor("X", "FP32", [3], [1.0, 2.0, 3.5])],
        [tensor("SUM", "FP32", [], [6.5])],
    )


def fill_in_turn(times):
    """Fills of one shape, each made only when the one before has been used up."""
    nodes, shape = [], "SHAPE"
    for k in range(times):
        nodes += [
            node("ConstantOfShape", [shape], [f"fill{k}"], value=constant("one", "FP32", [1], [1.0])),
            node("ReduceMean", [f"fill{k}"], [f"mean{k}"], keepdims=0),
            node("Cast", [f"mean{k}"], [f"whole{k}"], to=TensorProto.INT64),
            node("Mul", ["SHAPE", f"whole{k}"], [f"shape{k}"]),
        ]
        shape = f"shape{k}"
    good(
        "fill_in_turn.onnx",
        f"SHAPE INT64 [-1] → Y INT64 [-1], the same; fills {times} FP32 tensors of it on the way, one at a time",
        model_of(
            nodes + [node("Identity", [shape], ["Y"])],
            [value("SHAPE", "INT64", ["rank"])],
            [value("Y", "INT64", ["rank"])],
        ),
        [tensor("SHAPE", "INT64", [2], [2, 3])],
        [tensor("Y", "INT64", [2], [2, 3])],
    )


def failing_at_run():
    table = [float(k * k) for k in range(10)]
    good(
        "gather.onnx",
        "INDEX INT64 [-1] → Y FP32 [-1], the squares of 0 … 9; an index of 10 fails at run time",
        model_of(
            [node("Gather", ["table", "INDEX"], ["Y"])],
            [value("INDEX", "INT64", ["n"])],
            [value("Y", "FP32", ["n"])],
            [constant("table", "FP32", [10], table)],
        ),
        [tensor("INDEX", "INT64", [3], [3, 0, 9])],
        [tensor("Y", "FP32", [3], [9.0, 0.0, 81.0])],
    )
    good(
        "reshape3.onnx",
        "X FP32 [-1] → Y FP32 [-1,3]; fails at run time unless X has a multiple of 3 elements",
        model_of(
            [node("Reshape", ["X", "shape"], ["Y"])],
            [value("X", "FP32", ["n"])],
            [value("Y", "FP32", ["m", 3])],
            [constant("shape", "INT64", [2], [-1, 3])],
        ),
        [tensor("X", "FP32", [6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
        [tensor("Y", "FP32", [2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])],
    )


def rows_together():
    """Models with a batch dimension whose rows change each other's answers, and one with long rows."""
    x, y = value("X", "FP32", ["batch", 4]), value("Y", "FP32", ["batch", 4])
    good(
        "softmax_rows.onnx",
        "X FP32 [-1,4] → Y its softmax over the rows of the batch, not over their elements",
        model_of([node("Softmax", ["X"], ["Y"], axis=0)], [x], [y]),
        [tensor("X", "FP32", [2, 4], [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0])],
        [tensor("Y", "FP32", [2, 4], [0.5] * 8)],
    )
    rows = [-1.0, 0.5, 0.25, 4.0]
    weights = [[127, -127], [1, 100], [-50, 3], [64, 7]]
    low, high = min(0.0, *rows), max(0.0, *rows)
    scale = (high - low) / 255
    zero = round(-low / scale)
    quantized = [min(255, max(0, round(v / scale) + zero)) for v in rows]
    sums = [sum((q - zero) * w[k] for q, w in zip(quantized, weights)) for k in range(2)]
    good(
        "dynamic_int8.onnx",
        "X FP32 [-1,4] → Y FP32 [-1,2], quantized dynamically: one scale for the whole batch",
        model_of(
            [
                node("DynamicQuantizeLinear", ["X"], ["x", "scale", "zero"]),
                node("MatMulInteger", ["x", "weights", "zero"], ["sum"]),
                node("Cast", ["sum"], ["sum_fp32"], to=TensorProto.FLOAT),
                node("Mul", ["sum_fp32", "scale"], ["Y"]),
            ],
            [x],
            [value("Y", "FP32", ["batch", 2])],
            [constant("weights", "INT8", [4, 2], [w for row in weights for w in row])],
        ),
        [tensor("X", "FP32", [1, 4], rows)],
        [tensor("Y", "FP32", [1, 2], [s * scale for s in sums])],
    )
    good(
        "centered_rows.onnx",
        "X FP32 [-1,4] → Y = X without the mean of its rows",
        model_of(
            [node("ReduceMean", ["X"], ["mean"], axes=[0]), node("Sub", ["X", "mean"], ["Y"])],
            [x],
            [y],
        ),
        [tensor("X", "FP32", [2, 4], [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, -1.0])],
        [tensor("Y", "FP32", [2, 4], [-1.0, 0.0, 1.0, 2.0, 1.0, 0.0, -1.0, -2.0])],
    )
    n = [value("X", "INT64", ["n"])], [value("Y", "INT64", ["n"])]
    good(
        "summed_rows.onnx",
        "X INT64 [-1] → Y, each the sum of all up to it",
        model_of([node("CumSum", ["X", "axis"], ["Y"])], *n, [constant("axis", "INT64", [], [0])]),
        [tensor("X", "INT64", [4], [3, 0, -1, 5])],
        [tensor("Y", "INT64", [4], [3, 3, 2, 7])],
    )
    good(
        "sorted_rows.onnx",
        "X INT64 [-1] → Y, the same in descending order: rows get each other's answers",
        model_of([node("Shape", ["X"], ["k"]), node("TopK", ["X", "k"], ["Y", "where"])], *n),
        [tensor("X", "INT64", [4], [3, 0, -1, 5])],
        [tensor("Y", "INT64", [4], [5, 3, 0, -1])],
    )
    good(
        "long_rows.onnx",
        "X FP32 [-1,2] → Y FP32 [-1,4096], each row 2048 times over",
        model_of(
            [node("Tile", ["X", "times"], ["Y"])],
            [value("X", "FP32", ["batch", 2])],
            [value("Y", "FP32", ["batch", 4096])],
            [constant("times", "INT64", [2], [1, 2048])],
        ),
        [tensor("X", "FP32", [1, 2], [1.0, 2.0])],
        [tensor("Y", "FP32", [1, 4096], [1.0, 2.0] * 2048)],
    )


def burning(nodes, steps, size):
    """Appends a Loop that squares a size × size matrix of 1/size (its own square) `steps` times.

    The matrix is made from X, or the optimiser would do all the work when it loads the model.
    """
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"]),
            node("MatMul", ["matrix", "matrix"], ["squared"]),
        ],
        "square",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value("matrix", "FP32", [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            value("squared", "FP32", [size, size]),
        ],
    )
    nodes += [
        node("ReduceMean", ["X"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Add", ["nothing", "share"], ["cell"]),
        node("Expand", ["cell", "square_shape"], ["start"]),
        node("Loop", [steps, "", "start"], ["end"], body=body),
        node("ReduceMean", ["end"], ["burnt"], keepdims=0),
        node("Mul", ["burnt", "zero"], ["ash"]),
        node("Add", ["X", "ash"], ["Y"]),
    ]
    return [
        constant("zero", "FP32", [], [0.0]),
        constant("share", "FP32", [], [1.0 / size]),
        constant("square_shape", "INT64", [2], [size, size]),
    ]


def slow():
    size = 256
    x, y = value("X", "FP32", ["batch", 4]), value("Y", "FP32", ["batch", 4])
    four = [1.0, 2.0, 3.0, 4.0]
    nodes = []
    constants = burning(nodes, "steps", size) + [constant("steps", "INT64", [], [40])]
    good(
        "slow.onnx",
        "X FP32 [-1,4] → Y = X, after 40 products of 256 × 256 matrices, whatever the batch",
        model_of(nodes, [x], [y], constants),
        [tensor("X", "FP32", [1, 4], four)],
        [tensor("Y", "FP32", [1, 4], four)],
    )
    nodes = []
    constants = burning(nodes, "STEPS", size)
    good(
        "slow_by.onnx",
        "the same for as many products as a second input, STEPS INT64 [], asks for",
        model_of(nodes, [x, value("STEPS", "INT64", [])], [y], constants),
        [tensor("X", "FP32", [1, 4], four), tensor("STEPS", "INT64", [], [2])],
        [tensor("Y", "FP32", [1, 4], four)],
    )


# ---- weights outside the model file ------------------------------------------------------------


def external(location, length):
    """Y = X + four weights that stand in another file."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", str(length))):
        weights.external_data.add(key=key, value=text)
    return model_of(
        [node("Add", ["X", "weights"], ["Y"])],
        [value("X", "FP32", ["batch", 4])],
        [value("Y", "FP32", ["batch", 4])],
        [weights],
    )


def externals():
    (MODELS / "external_inside.bin").write_bytes(
        bytes.fromhex("0000803f 00000040 00004040 00008040")
    )
    described.append(("good", "external_inside.bin", "its weights: 1, 2, 3, 4 as FP32"))
    good(
        "external_inside.onnx",
        "X FP32 [-1,4] → Y = X + weights from external_inside.bin beside it",
        external("external_inside.bin", 16),
        [tensor("X", "FP32", [1, 4], [10.0, 20.0, 30.0, 40.0])],
        [tensor("Y", "FP32", [1, 4], [11.0, 22.0, 33.0, 44.0])],
    )
    broken(
        "external_outside.onnx",
        "its weights are said to be in `../../etc/passwd`",
        external("../../etc/passwd", 16),
    )
    broken(
        "external_up.onnx",
        "its weights are said to be in `../make_models.py`, which is there, but outside the folder",
        external("../make_models.py", 16),
    )
    broken(
        "external_abs.onnx",
        "its weights are said to be in `/etc/passwd`",
        external("/etc/passwd", 16),
    )
    broken(
        "external_missing.onnx",
        "its weights are said to be in a file that is not there",
        external("nowhere.bin", 16),
    )
    broken(
        "external_short.onnx",
        "its weights are said to be 4096 bytes of a file that has 16",
        external("external_inside.bin", 4096),
    )


# ---- broken ------------------------------------------------------------------------------------


def plain(kind="Identity", **more):
    return model_of(
        [node(kind, ["X"], ["Y"])],
        [value("X", "FP32", ["batch", 4])],
        [value("Y", "FP32", ["batch", 4])],
        **more,
    )


def not_models():
    whole = (MODELS / "simple.onnx").read_bytes()
    broken("empty.onnx", "no bytes at all", b"")
    broken("truncated.onnx", "simple.onnx, its first half only", whole[: len(whole) // 2])
    broken(
        "notonnx.onnx",
        "a line of text",
        b"This is a text file that somebody named .onnx by mistake.\n",
    )
    # A plain multiplicative generator, so that the bytes are the same on every machine.
    state, noise = 1, bytearray()
    for _ in range(512):
        state = state * 48271 % 2147483647
        noise.append(state >> 8 & 255)
    broken("noise.onnx", "512 pseudo-random bytes", bytes(noise))
    no_graph = plain()
    no_graph.ClearField("graph")
    broken("no_graph.onnx", "a model without a graph", no_graph)


def wrong_models():
    broken("future_opset.onnx", "asks for opset 999", plain(opset=999))
    broken("future_ir.onnx", "says it is of IR version 999", plain(ir=999))
    broken("unknown_op.onnx", "uses an operator that does not exist", plain("Frobnicate"))
    frobnicate = helper.make_node("Frobnicate", ["X"], ["Y"], domain="com.example")
    x, y = value("X", "FP32", ["batch", 4]), value("Y", "FP32", ["batch", 4])
    broken(
        "unknown_domain.onnx",
        "uses an operator of a domain nobody registered",
        model_of([frobnicate], [x], [y], domains=[("com.example", 1)]),
    )
    broken(
        "type_mismatch.onnx",
        "adds integers to floats",
        model_of(
            [node("Add", ["X", "whole"], ["Y"])], [x], [y], [constant("whole", "INT64", [1], [1])]
        ),
    )
    broken(
        "missing_input.onnx",
        "a node reads a value that nothing makes",
        model_of([node("Add", ["X", "ghost"], ["Y"])], [x], [y]),
    )
    broken(
        "cycle.onnx",
        "two nodes wait for each other",
        model_of(
            [
                node("Add", ["X", "b"], ["a"]),
                node("Add", ["X", "a"], ["b"]),
                node("Identity", ["b"], ["Y"]),
            ],
            [x],
            [y],
        ),
    )
    lie = TensorProto(name="lie", data_type=TensorProto.FLOAT, dims=[1 << 40, 1 << 20])
    lie.raw_data = bytes(16)
    nodes = [node("ReduceMax", ["lie"], ["most"], keepdims=0), node("Add", ["X", "most"], ["Y"])]
    broken(
        "huge_dims.onnx",
        "a weight of 16 bytes that says it has 2^60 elements",
        model_of(nodes, [x], [y], [lie]),
    )


def unserved():
    """Loads in ONNX Runtime, yet an answer that is no tensor cannot be sent over the protocol."""
    maps = ValueInfoProto(name="maps")
    entry = maps.type.sequence_type.elem_type.map_type
    entry.key_type = TensorProto.STRING
    entry.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model = model_of(
        [
            classifier_nodes(classlabels_strings=["rise", "fall", "stay"]),
            node(
                "ZipMap",
                ["probabilities"],
                ["maps"],
                domain="ai.onnx.ml",
                classlabels_strings=["rise", "fall", "stay"],
            ),
        ],
        [value("input", "FP32", ["N", 2])],
        [value("label", "BYTES", ["N"]), maps],
        domains=[("ai.onnx.ml", ML_OPSET)],
    )
    (MODELS / "zipmap.onnx").write_bytes(model.SerializeToString(deterministic=True))
    described.append(
        ("unserved", "zipmap.onnx", "classifier.onnx with a sequence of maps for its probabilities")
    )


# ---- all of it ---------------------------------------------------------------------------------


def readme():
    lines = [
        "# Models for tests",
        "",
        "Written by `tests/data/make_models.py` (Debian's python3-onnx), this page too: change",
        "them there. Each is below a kilobyte. Default opset 13, ai.onnx.ml 1, IR 8, unless the",
        "line says otherwise; types by their names in the inference protocol, -1 for a dimension",
        "that may vary.",
        "",
        "`cases.json` has inputs for every good model and the outputs they must give: strings and",
        "integers exactly, floats to 1e-6. Tensors are flat and row-major. FP16 and BF16 are there",
        "as numbers, although the protocol carries them in binary form only.",
        "",
        "Two of the broken ones are a trap: ONNX Runtime 1.21.0 loads `external_up.onnx` and",
        "`external_abs.onnx` and takes its weights from wherever they point; 1.30.0 refuses them.",
    ]
    titles = {
        "good": "Good: these load and run",
        "unserved": "Valid, but with an output that is no tensor, which the protocol cannot carry",
        "broken": "Broken: these must be refused when they are loaded",
    }
    for section, title in titles.items():
        lines += ["", f"## {title}", "", "| file | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {line} |" for kind, name, line in described if kind == section]
    (MODELS / "README.md").write_text("\n".join(lines) + "\n")


def main():
    MODELS.mkdir(exist_ok=True)
    for make in (
        identities,
        sums,
        mixed,
        shapes,
        shared_dims,
        few_inputs,
        classifiers,
        lengths,
        failing_at_run,
        rows_together,
        slow,
        externals,
        not_models,
        wrong_models,
        unserved,
    ):
        make()
    readme()
    body = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (MODELS / "cases.json").write_text(f"[\n{body}\n]\n")
    print(
        f"{len(cases)} good models, {sum(kind == 'broken' for kind, _, _ in described)} broken ones"
    )


if __name__ == "__main__":
    main()
