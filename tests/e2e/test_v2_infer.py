# SPDX-License-Identifier: Apache-2.0
"""Inference by the Open Inference Protocol v2: every element type in both forms, and every refusal with its words."""
import gzip
import json
import pathlib
import shutil
import struct
import threading
import zlib

import pytest

MODELS = pathlib.Path(__file__).resolve().parents[1] / "data" / "models"
CASES = {case["model"]: case for case in json.loads((MODELS / "cases.json").read_text()) if "outputs" in case}
FORMATS = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
           "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d"}
HALF = ("FP16", "BF16")


def pack(datatype, values):
    """The binary form of a tensor."""
    if datatype == "BYTES":
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def unpack(datatype, data):
    if datatype == "BYTES":
        values, at = [], 0
        while at < len(data):
            (size,) = struct.unpack_from("<I", data, at)
            values.append(data[at + 4:at + 4 + size])
            at += 4 + size
        return values
    if datatype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(FORMATS[datatype])}{FORMATS[datatype]}", data))


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def binary_body(inputs, **members):
    """A request with all inputs in binary form: body and headers."""
    tails = [pack(one["datatype"], one["data"]) for one in inputs]
    head = json.dumps({"inputs": [{"name": one["name"], "datatype": one["datatype"], "shape": one["shape"],
                                   "parameters": {"binary_data_size": len(tail)}}
                                  for one, tail in zip(inputs, tails)], **members}).encode()
    return head + b"".join(tails), {"Inference-Header-Content-Length": str(len(head)),
                                    "Content-Type": "application/octet-stream"}


def binary_outputs(answer):
    """name → (datatype, shape, values) of an answer, binary outputs and JSON ones."""
    length = answer.headers.get("Inference-Header-Content-Length")
    head = json.loads(answer.body[:int(length)] if length else answer.body)
    at, found = int(length or len(answer.body)), {}
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = output["data"]
        else:
            assert list(output["parameters"]) == ["binary_data_size"]
            values = unpack(output["datatype"], answer.body[at:at + size])
            at += size
        found[output["name"]] = (output["datatype"], output["shape"], values)
    assert at == len(answer.body)
    return found


def infer(server, model, inputs, **members):
    return server.request("POST", f"/v2/models/{model}/infer", {"inputs": inputs, **members})


def assert_close(datatype, got, expected):
    if datatype in ("FP32", "FP64", *HALF):
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)
    elif datatype == "BYTES":
        assert [text if isinstance(text, str) else text.decode() for text in got] == expected
    else:
        assert got == expected


@pytest.mark.parametrize("name", sorted(CASES))
def test_models_answer_as_they_should_in_json_and_binary(server, models, name):
    case = CASES[name]
    directory = models(name)
    for weights in MODELS.glob(f"{name}.bin"):
        shutil.copy(weights, directory)
    one = server(models=directory)
    halves = any(part["datatype"] in HALF for part in case["inputs"] + case["outputs"])
    expected = {output["name"]: output for output in case["outputs"]}
    if not halves:
        answer = infer(one, name, case["inputs"], id="case")
        assert answer.status == 200, answer
        assert answer.headers["Content-Type"] == "application/json"
        assert "Inference-Header-Content-Length" not in answer.headers
        body = answer.json
        assert (body["id"], body["model_name"], body["model_version"]) == ("case", name, "1")
        assert [output["name"] for output in body["outputs"]] == [output["name"] for output in case["outputs"]]
        for output in body["outputs"]:
            assert "parameters" not in output
            assert output["datatype"] == expected[output["name"]]["datatype"]
            assert output["shape"] == expected[output["name"]]["shape"]
            assert_close(output["datatype"], output["data"], expected[output["name"]]["data"])
    body, headers = binary_body(case["inputs"], parameters={"binary_data_output": True})
    answer = one.request("POST", f"/v2/models/{name}/infer", body, headers)
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "id" not in json.loads(answer.body[:int(answer.headers["Inference-Header-Content-Length"])])
    found = binary_outputs(answer)
    assert sorted(found) == sorted(expected)
    for output, (datatype, shape, values) in found.items():
        assert (datatype, shape) == (expected[output]["datatype"], expected[output]["shape"])
        assert_close(datatype, values, expected[output]["data"])


SIMPLE = [tensor("INPUT0", "INT32", [1, 16], list(range(16))), tensor("INPUT1", "INT32", [1, 16], [1] * 16)]
SUM = [i + 1 for i in range(16)]
DIFFERENCE = [i - 1 for i in range(16)]


@pytest.fixture(name="simple")
def simple_server(server, models):
    return server(models=models("simple", "plus1", "identity_string", "identity_fp16", "identity_fp32", "vector",
                                "classifier", "gather", "slow_by"))


def test_nested_data_names_and_versions(simple):
    nested = [dict(one, data=[one["data"]]) for one in SIMPLE]
    for path in ("/v2/models/simple/infer", "/v2/models/simple/versions/1/infer", "/v2/models/simple/infer?test_1=1"):
        answer = simple.request("POST", path, {"inputs": nested})
        assert answer.status == 200, answer
        assert [output["data"] for output in answer.json["outputs"]] == [SUM, DIFFERENCE]
    unknown = simple.request("POST", "/v2/models/simple/versions/9/infer", {"inputs": nested})
    assert unknown.status == 404
    assert "simple" in unknown.json["error"]


def test_outputs_are_chosen_ordered_and_formed_one_by_one(simple):
    answer = infer(simple, "simple", SIMPLE, outputs=[{"name": "OUTPUT1"}])
    assert [output["name"] for output in answer.json["outputs"]] == ["OUTPUT1"]
    answer = infer(simple, "simple", SIMPLE, outputs=[{"name": "OUTPUT1", "parameters": {"binary_data": True}},
                                                      {"name": "OUTPUT0"}])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert binary_outputs(answer) == {"OUTPUT1": ("INT32", [1, 16], DIFFERENCE), "OUTPUT0": ("INT32", [1, 16], SUM)}
    answer = infer(simple, "simple", SIMPLE, parameters={"binary_data_output": True},
                   outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": False}}])
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["outputs"][0]["data"] == SUM
    assert infer(simple, "simple", SIMPLE, outputs=[]).json["outputs"][1]["data"] == DIFFERENCE


def test_what_the_cpp_client_sends(simple):
    """An empty id, the header even for pure JSON, an empty Expect, and binary_data: false in so many words."""
    body = json.dumps({"id": "", "inputs": SIMPLE,
                       "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": False}}]}).encode()
    answer = simple.request("POST", "/v2/models/simple/infer", body,
                            {"Inference-Header-Content-Length": str(len(body)), "Expect": "",
                             "Content-Type": "application/octet-stream"})
    assert answer.status == 200, answer
    assert "id" not in answer.json
    assert answer.json["outputs"][0]["data"] == SUM


@pytest.mark.parametrize("encoding,pack_with", [("gzip", gzip.compress), ("deflate", zlib.compress),
                                                ("identity", bytes)])
def test_compressed_both_ways(simple, encoding, pack_with):
    """The header counts the JSON before compression and after decompression."""
    values = [float(i) for i in range(4000)]
    body, headers = binary_body([tensor("INPUT0", "FP32", [1, 4000], values)],
                                outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}])
    answer = simple.request("POST", "/v2/models/identity_fp32/infer", pack_with(body),
                            {**headers, "Content-Encoding": encoding, "Accept-Encoding": encoding})
    assert answer.status == 200, answer
    if encoding == "gzip":
        assert answer.headers["Content-Encoding"] == "gzip"
        answer.body = gzip.decompress(answer.body)
    elif encoding == "deflate":
        assert answer.headers["Content-Encoding"] == "deflate"
        answer.body = zlib.decompress(answer.body)
    else:
        assert "Content-Encoding" not in answer.headers
    assert binary_outputs(answer)["OUTPUT0"][2] == values


def test_unknown_encoding_is_501(simple):
    answer = simple.request("POST", "/v2/models/simple/infer", b"x", {"Content-Encoding": "br"})
    assert answer.status == 501
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert "error" in answer.json


def test_raw_requests(simple):
    """The body is the only input; everything comes back in binary form."""
    header = {"Inference-Header-Content-Length": "0"}
    answer = simple.request("POST", "/v2/models/plus1/infer", struct.pack("<4f", 1, 2, 3, 4), header)
    assert answer.status == 200, answer
    assert binary_outputs(answer) == {"Y": ("FP32", [1, 4], [2.0, 3.0, 4.0, 5.0])}
    answer = simple.request("POST", "/v2/models/vector/infer", struct.pack("<4f", 1, 2, 3, 4), header)
    assert binary_outputs(answer)["Y"][1] == [4]
    answer = simple.request("POST", "/v2/models/plus1/infer", b"abc", header)
    assert answer.status == 400
    assert "got 3 bytes" in answer.json["error"]
    answer = simple.request("POST", "/v2/models/simple/infer", b"abcd", header)
    assert answer.status == 400
    assert "must only have 1 input" in answer.json["error"]


def test_classification(simple):
    row = [[0.5, -0.25], [3, 4]]
    plain = infer(simple, "classifier", [tensor("input", "FP32", [2, 2], row)],
                  outputs=[{"name": "probabilities"}]).json["outputs"][0]["data"]
    answer = infer(simple, "classifier", [tensor("input", "FP32", [2, 2], row)],
                   outputs=[{"name": "probabilities", "parameters": {"classification": 2}}])
    output = answer.json["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    for at in range(2):
        ranked = sorted(range(3), key=lambda k: -plain[at * 3 + k])[:2]
        for label, which in zip(output["data"][at * 2:at * 2 + 2], ranked):
            value, index = label.split(":")
            assert int(index) == which
            assert float(value) == pytest.approx(plain[at * 3 + which])


def test_strings_of_any_bytes_go_through_in_binary(simple):
    texts = [b"", b"\0\xff\xfe", "é".encode(), b"x" * 70000]
    body, headers = binary_body([tensor("INPUT0", "BYTES", [2, 2], texts)],
                                outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}])
    answer = simple.request("POST", "/v2/models/identity_string/infer", body, headers)
    assert answer.status == 200, answer
    assert binary_outputs(answer)["OUTPUT0"][2] == texts


def test_numbers_json_has_no_word_for(simple):
    """NaN and infinities: null in JSON, said so in the answer's parameters; exact in binary form."""
    values = [float("nan"), float("inf"), float("-inf"), 1.5]
    body, headers = binary_body([tensor("INPUT0", "FP32", [1, 4], values)])
    answer = simple.request("POST", "/v2/models/identity_fp32/infer", body, headers)
    assert answer.status == 200, answer
    assert answer.json["outputs"][0]["data"] == [None, None, None, 1.5]
    assert answer.json["parameters"] == {"non_finite": "null"}
    body, headers = binary_body([tensor("INPUT0", "FP32", [1, 4], values)], parameters={"binary_data_output": True})
    answer = simple.request("POST", "/v2/models/identity_fp32/infer", body, headers)
    assert repr(binary_outputs(answer)["OUTPUT0"][2]) == repr(values)


def test_64_bit_integers_keep_every_bit(server, models):
    one = server(models=models("identity_int64"))
    values = [-2**63, 2**63 - 1, 2**53 + 1, -2**53 - 1]
    assert infer(one, "identity_int64", [tensor("INPUT0", "INT64", [2, 2], values)]).json["outputs"][0]["data"] == values


def changed(**members):
    return [dict(SIMPLE[0], **members), SIMPLE[1]]


@pytest.mark.parametrize("inputs,status,words", [
    (changed(shape=[1, 15], data=[0] * 15), 400,
     "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,15]"),
    (changed(shape=[16]), 400, "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [16]"),
    (changed(datatype="INT64"), 400,
     "inference input 'INPUT0' data-type is 'INT64', but model 'simple' expects 'INT32'"),
    (SIMPLE[:1], 400, "expected 2 inputs but got 1 inputs for model 'simple'"),
    (SIMPLE + [tensor("INPUT2", "INT32", [1], [1])], 400, "expected 2 inputs but got 3 inputs for model 'simple'"),
    (changed(name="NOPE"), 400, "unexpected inference input 'NOPE' for model 'simple'"),
    ([SIMPLE[0], SIMPLE[0]], 400, "INPUT0"),
    (changed(data=[1] * 15), 400, "its data holds 15"),
    (changed(data=[1] * 17), 400, "its data holds more"),
    (changed(data=["x"] * 16), 400, "element 0 of its data is the string \"x\""),
    (changed(data=[2**31] + [0] * 15), 400, "element 0 of its data is the number 2147483648"),
    (changed(data=[0.5] * 16), 400, "element 0"),
    (changed(data=[True] * 16), 400, "element 0 of its data is true"),
    (changed(shape=[-1, 16]), 400, "'shape'"),
    (changed(shape=[2**62, 2**62]), 400, "INPUT0"),
    (changed(datatype="INT33"), 400, "invalid datatype 'INT33'"),
    ("x", 400, "Unable to parse 'inputs'"),
])
def test_refusals_of_inputs(simple, inputs, status, words):
    answer = infer(simple, "simple", inputs)
    assert answer.status == status
    assert list(answer.json) == ["error"]
    assert words in answer.json["error"]


@pytest.mark.parametrize("path,body,status,words", [
    ("nope", {"inputs": SIMPLE}, 404, "Request for unknown model: 'nope' is not found"),
    ("simple", {"inputs": SIMPLE, "outputs": [{"name": "OUTPUT9"}]}, 400,
     "unexpected inference output 'OUTPUT9' for model 'simple'"),
    ("simple", b"{", 400, ""),
    ("simple", b"", 400, ""),
    ("simple", b"[" * 100000, 400, "100"),
    ("simple", b'{"inputs":' + b"[" * 200 + b"]" * 200 + b"}", 400, "100"),
    ("simple", b'{"inputs":[],"inputs":[]}', 400, "'inputs' is there twice"),
    ("identity_fp32", b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,1],"data":[NaN]}]}', 400, ""),
    ("identity_fp32", b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,1],"data":[1e999]}]}', 400, ""),
    ("identity_fp32", b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,1],"data":[1e39]}]}', 400, "FP32"),
    ("identity_fp16", {"inputs": [tensor("INPUT0", "FP16", [1, 1], [1])]}, 400,
     "receiving FP16 data via JSON is not supported. Please use the binary data format for input"),
    ("gather", {"inputs": [tensor("INDEX", "INT64", [1], [10])]}, 500, ""),
])
def test_refusals_of_requests(simple, path, body, status, words):
    answer = simple.request("POST", f"/v2/models/{path}/infer", body)
    assert answer.status == status, answer
    assert list(answer.json) == ["error"]
    assert words in answer.json["error"] and answer.json["error"]
    assert infer(simple, "simple", SIMPLE).status == 200


def test_half_floats_are_not_answered_in_json(simple):
    body, headers = binary_body([tensor("INPUT0", "FP16", [1, 2], [1.0, -2.5])])
    answer = simple.request("POST", "/v2/models/identity_fp16/infer", body, headers)
    assert answer.status == 400
    assert "sending FP16 data via JSON is not supported. Please use the binary data format" in answer.json["error"]


def test_the_header_and_the_binary_part_must_fit(simple):
    body, headers = binary_body(SIMPLE)
    path = "/v2/models/simple/infer"
    answer = simple.request("POST", path, body + b"x", headers)
    assert (answer.status, "unexpected additional input data for model 'simple'" in answer.json["error"]) == (400, True)
    answer = simple.request("POST", path, body[:-1], headers)
    assert (answer.status, "expecting 1 additional bytes" in answer.json["error"]) == (400, True)
    for bad in (str(len(body) + 1), "-1", "x", "", "1e3"):
        answer = simple.request("POST", path, body, {**headers, "Inference-Header-Content-Length": bad})
        assert answer.status == 400, bad
        assert "error" in answer.json
    answer = simple.request("POST", path, body)  # no header: all of it should be JSON
    assert answer.status == 400


def test_timeouts(simple):
    """A request whose time is up before its turn is not computed; one with time enough is."""
    step = [tensor("X", "FP32", [1, 4], [1, 2, 3, 4]), tensor("STEPS", "INT64", [], [1])]
    assert infer(simple, "slow_by", step, parameters={"timeout": 10_000_000}).status == 200
    answer = infer(simple, "simple", SIMPLE, parameters={"timeout": 1})
    assert answer.status == 503, answer
    assert answer.headers["Retry-After"]
    assert infer(simple, "simple", SIMPLE, parameters={"timeout": 2**64 - 1}).status == 200
    assert infer(simple, "simple", SIMPLE, parameters={"timeout": -1}).status == 400


def test_mixed_requests_at_once_keep_apart(simple):
    """Eight connections, each with its own mixture; every answer is the one that was asked for."""
    failures = []

    def ask(worker):
        connection = simple.connect()
        try:
            for turn in range(60):
                number = worker * 1000 + turn
                which = (worker + turn) % 4
                if which == 0:
                    model, expected = "plus1", [number + 1.0, 1.0, 2.0, 3.0]
                    body, headers = json.dumps({"id": str(number), "inputs": [
                        tensor("X", "FP32", [1, 4], [number, 0, 1, 2])]}).encode(), {}
                elif which == 1:
                    model, expected = "simple", [number + i for i in range(16)]
                    inputs = [tensor("INPUT0", "INT32", [1, 16], [number] * 16),
                              tensor("INPUT1", "INT32", [1, 16], list(range(16)))]
                    body, headers = binary_body(inputs, id=str(number))
                elif which == 2:
                    model, expected = "identity_string", [f"{number}", "ü", "", "z"]
                    body, headers = json.dumps({"id": str(number), "inputs": [
                        tensor("INPUT0", "BYTES", [2, 2], expected)]}).encode(), {}
                else:
                    model, expected, headers = "simple", None, {}
                    body = b'{"id":"' + str(number).encode() + b'","inputs":[]}'
                connection.request("POST", f"/v2/models/{model}/infer", body, headers)
                answer = connection.getresponse()
                got = json.loads(answer.read())
                if expected is None:
                    assert answer.status == 400 and "expected 2 inputs but got 0" in got["error"]
                else:
                    assert answer.status == 200 and got["id"] == str(number)
                    assert got["outputs"][0]["data"] == expected
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"worker {worker}: {error!r}")
        finally:
            connection.close()

    workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_pipelined_inferences_come_back_in_order(simple):
    def request(number):
        body = json.dumps({"id": str(number), "inputs": [tensor("X", "FP32", [1, 4], [number] * 4)]}).encode()
        close = b"Connection: close\r\n" if number == 9 else b""
        return (b"POST /v2/models/plus1/infer HTTP/1.1\r\nHost: x\r\n" + close +
                b"Content-Length: %d\r\n\r\n" % len(body) + body)

    received = simple.raw(b"".join(request(number) for number in range(10)))
    positions = [received.find(b'"id":"%d"' % number) for number in range(10)]
    assert -1 not in positions and positions == sorted(positions)
