# SPDX-License-Identifier: Apache-2.0
"""pacer run and pacer inspect."""
import json
import struct

import pytest

from conftest import MODELS

GOOD = {case["model"] for case in json.loads((MODELS / "cases.json").read_text())}


def npy(path, descr, shape, data, fortran=False):
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return path


def outputs(done):
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return {one["name"]: one for one in answer["outputs"]}


# --- run ------------------------------------------------------------------------------------------
def test_short_form(run):
    done = run("run", MODELS / "plus1.onnx", "--input", "-", input=b'{"X": [[1, 2, 3, 4], [5, 6, 7, 8.5]]}')
    answer = json.loads(done.stdout)
    assert answer["model_name"] == "plus1" and len(answer["model_version"]) == 16
    assert answer["outputs"] == [{"name": "Y", "datatype": "FP32", "shape": [2, 4],
                                  "data": [2, 3, 4, 5, 6, 7, 8, 9.5]}]


def test_v2_form(run, tmp_path):
    request = tmp_path / "request.json"
    tensor = {"datatype": "INT32", "shape": [1, 16], "data": list(range(16))}
    request.write_text(json.dumps({"id": "a", "inputs": [{"name": "INPUT0", **tensor}, {"name": "INPUT1", **tensor}],
                                   "outputs": [{"name": "OUTPUT1", "parameters": {"binary_data": True}}]}))
    done = run("run", MODELS / "simple.onnx", f"--input={request}")
    assert json.loads(done.stdout)["id"] == "a"
    assert outputs(done)["OUTPUT1"]["data"] == [0] * 16  # as JSON, for a terminal is no place for bytes
    assert list(outputs(done)) == ["OUTPUT1"]


def test_chosen_outputs(run, tmp_path):
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"INPUT0": [[1] * 16], "INPUT1": [[2] * 16]}))
    done = run("run", MODELS / "simple.onnx", "-i", request, "-o", "OUTPUT1", "-o", "OUTPUT0")
    assert list(outputs(done)) == ["OUTPUT1", "OUTPUT0"]
    assert outputs(done)["OUTPUT0"]["data"] == [3] * 16
    done = run("run", MODELS / "simple.onnx", "-i", request, "-o", "NOTHING")
    assert done.returncode == 5 and b"NOTHING" in done.stderr


def test_arrays(run, tmp_path):
    a = npy(tmp_path / "a.npy", "<i4", (1, 16), struct.pack("<16i", *range(16)))
    b = npy(tmp_path / "b.npy", ">i4", (1, 16), struct.pack(">16i", *range(16, 32)))
    done = run("run", MODELS / "simple.onnx", "-i", f"INPUT1={b}", "-i", f"INPUT0={a}")
    assert outputs(done)["OUTPUT0"]["data"] == list(range(16, 48, 2))
    done = run("run", MODELS / "simple.onnx", "-i", a)
    assert done.returncode == 5 and b"--input NAME=FILE" in done.stderr
    done = run("run", MODELS / "simple.onnx", "-i", f"INPUT0={a}")
    assert done.returncode == 5 and b"expected 2 inputs" in done.stderr
    x = npy(tmp_path / "x.npy", "<f4", (2, 4), struct.pack("<8f", 1, 5, 2, 6, 3, 7, 4, 8), fortran=True)
    assert outputs(run("run", MODELS / "plus1.onnx", "-i", x))["Y"]["data"] == [2, 3, 4, 5, 6, 7, 8, 9]
    double = npy(tmp_path / "d.npy", "<f8", (1, 4), struct.pack("<4d", 1, 2, 3, 4))
    done = run("run", MODELS / "plus1.onnx", "-i", double)
    assert done.returncode == 5 and b"FP64" in done.stderr and b"FP32" in done.stderr


def test_texts_as_arrays(run, tmp_path):
    x = npy(tmp_path / "x.npy", "<U2", (1, 2), "a\0é€".encode("utf-32-le"))
    assert outputs(run("run", MODELS / "identity_string.onnx", "-i", x))["OUTPUT0"]["data"] == ["a", "é€"]


def test_models_without_inputs_and_with_scalars(run):
    assert outputs(run("run", MODELS / "no_inputs.onnx"))["Y"]["data"] == [1, 2, 3]
    done = run("run", MODELS / "scalar_input.onnx", "-i", "-", input=b'{"X": 3}')
    assert outputs(done)["Y"] == {"name": "Y", "datatype": "FP32", "shape": [], "data": [4]}


@pytest.mark.parametrize("model, text, words", [
    ("plus1", b"", "input"),
    ("plus1", b"[1]", "expected an object"),
    ("plus1", b'{"X": [[1, 2], [3]]}', "not all of one length"),
    ("plus1", b'{"Z": [[1, 2, 3, 4]]}', "has no input 'Z'"),
    ("plus1", b'{"X": [[1, 2, 3]]}', "X"),
    ("plus1", b'{"X": [["a", "b", "c", "d"]]}', "X"),
    ("plus1", b'{"X": ' + b"[" * 40 + b"1" + b"]" * 40 + b"}", "not all of one length"),
    ("plus1", b"[" * 100000, "nest"),
    ("plus1", b'{"X": [[1, 2, 3, 1e999]]}', ""),
    ("plus1", b'{"X": [[1, 2, 3, NaN]]}', ""),
    ("plus1", b"{}", "expected 1 input"),
    ("simple", b'{"INPUT0": [[1]]}', ""),
    ("plus1", b"PK\x03\x04rest", ".npz"),
    ("plus1", b"\x93NUMPY\x01\x00\xff\xffx", "ends within the header"),
    ("plus1", b"\x93NUMPY", "magic and version"),
])
def test_bad_inputs(run, model, text, words):
    done = run("run", MODELS / f"{model}.onnx", "-i", "-", input=text)
    assert done.returncode == 5 and done.stdout == b""
    assert done.stderr.startswith(b"pacer: ") and words in done.stderr.decode()


def test_bad_files_and_options(run, tmp_path):
    assert run("run", MODELS / "plus1.onnx").returncode == 2
    done = run("run", MODELS / "plus1.onnx", "-i", tmp_path / "none.json")
    assert done.returncode == 5 and b"No such file" in done.stderr
    done = run("run", MODELS / "plus1.onnx", "-i", tmp_path)
    assert done.returncode == 5 and b"Is a directory" in done.stderr
    good = tmp_path / "x.json"
    good.write_text('{"X": [[1, 2, 3, 4]]}')
    assert run("run", MODELS / "plus1.onnx", "-i", good, "-i", good).returncode == 2


@pytest.mark.parametrize("model", ["noise", "truncated", "notonnx", "empty", "future_opset", "unknown_op",
                                   "external_outside", "nothing"])
def test_models_that_do_not_load(run, model):
    done = run("run", MODELS / f"{model}.onnx", "-i", "-", input=b"{}")
    assert done.returncode == 4 and done.stdout == b""
    assert done.stderr.startswith(b"pacer: ") and model in done.stderr.decode()


def test_a_run_that_fails(run):
    done = run("run", MODELS / "gather.onnx", "-i", "-", input=b'{"INDEX": [10]}')
    assert done.returncode == 1 and done.stdout == b"" and done.stderr.startswith(b"pacer: ")


# --- inspect --------------------------------------------------------------------------------------
def test_inspect_as_json(run):
    done = run("inspect", "--json", MODELS / "classifier.onnx")
    assert done.returncode == 0
    seen = json.loads(done.stdout)
    assert seen["inputs"] == [{"name": "input", "type": "FP32", "shape": ["N", 2], "has_default": False}]
    assert [one["name"] for one in seen["outputs"]] == ["label", "probabilities"]
    assert seen["opsets"] == {"ai.onnx": 13, "ai.onnx.ml": 1}
    assert seen["operators"] == [{"domain": "ai.onnx.ml", "name": "LinearClassifier", "count": 1}]
    assert seen["file_bytes"] == (MODELS / "classifier.onnx").stat().st_size
    assert "pacer.features" in [pair["key"] for pair in seen["metadata"]]


def test_inspect_as_a_table(run):
    text = run("inspect", MODELS / "simple.onnx").stdout.decode()
    for words in ("INPUT0 INT32", "INPUT1 INT32", "OUTPUT0 INT32", "ai.onnx 13", "Add", "Sub", "parameters"):
        assert words in text


def test_inspect_shows_data_kept_elsewhere(run):
    seen = json.loads(run("inspect", "-j", MODELS / "external_inside.onnx").stdout)
    assert [one["location"] for one in seen["external_data"]] == ["external_inside.bin"]


@pytest.mark.parametrize("model", sorted(path.stem for path in MODELS.glob("*.onnx")))
def test_inspect_never_breaks(run, model):
    done = run("inspect", "--json", MODELS / f"{model}.onnx")
    assert done.returncode in (0, 4)
    if done.returncode == 0:
        assert json.loads(done.stdout)["file"].endswith(f"{model}.onnx")
    else:
        assert done.stderr.startswith(b"pacer: ")
    if model in GOOD:
        assert done.returncode == 0, done.stderr
