# SPDX-License-Identifier: Apache-2.0
"""tritonclient[http], unmodified: whatever it offers for the extensions that the server names."""
import asyncio

import numpy as np
import pytest

http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
aio = pytest.importorskip("tritonclient.http.aio", reason="tritonclient[http] has no asyncio client")
from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

TYPES = {"bool": np.bool_, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
         "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64, "fp16": np.float16,
         "fp32": np.float32, "fp64": np.float64, "string": np.object_}


@pytest.fixture(name="one")
def one_server(server, models):
    return server(models=models("simple", "simple_string", "classifier", "identity_bf16", "plus1", "gather",
                                *(f"identity_{name}" for name in TYPES)))


@pytest.fixture(name="client")
def http_client(one):
    client = http.InferenceServerClient(f"127.0.0.1:{one.port}")
    yield client
    client.close()


def given(name, array, binary=True, datatype=None):
    made = http.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def simple_inputs(binary=True):
    return [given("INPUT0", np.arange(16, dtype=np.int32).reshape(1, 16), binary),
            given("INPUT1", np.ones((1, 16), dtype=np.int32), binary)]


def values_of(name):
    if name == "bool":
        return np.array([[True, False, True]])
    if name == "string":
        return np.array([["", "é", "a b"]], dtype=np.object_)
    kind = TYPES[name]
    if name.startswith("fp"):
        return np.array([[np.finfo(kind).min, 0.5, np.finfo(kind).max]], dtype=kind)
    return np.array([[np.iinfo(kind).min, 1, np.iinfo(kind).max]], dtype=kind)


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    assert not client.is_model_ready("nope") and not client.is_model_ready("simple", "9")
    assert client.is_server_live(query_params={"test_1": 1, "test_2": [2, 3]})
    metadata = client.get_server_metadata()
    assert metadata["name"] == "pacer" and "binary_tensor_data" in metadata["extensions"]
    assert client.get_model_metadata("simple")["inputs"][0] == {
        "name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    assert client.get_model_config("simple", "1")["max_batch_size"] > 0
    assert len(client.get_model_repository_index()) == len(TYPES) + 6
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found") as raised:
        client.get_model_metadata("nope")
    assert raised.value.status() == "404"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_type(client, name, binary_in, binary_out):
    if name == "fp16" and not (binary_in and binary_out):
        pytest.skip("FP16 travels in binary form only")
    array = values_of(name)
    result = client.infer(f"identity_{name}", [given("INPUT0", array, binary_in)], request_id="r-1",
                          outputs=[http.InferRequestedOutput("OUTPUT0", binary_data=binary_out)])
    got = result.as_numpy("OUTPUT0")
    if name == "string":
        got = np.array([[part.decode() if isinstance(part, bytes) else part for part in got[0]]], dtype=np.object_)
    assert got.dtype == array.dtype and np.array_equal(got, array)
    assert result.get_response()["id"] == "r-1"


def test_bf16(client):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    array = np.array([[1.0, -2.5, 3.0]], dtype=bfloat16)
    result = client.infer("identity_bf16", [given("INPUT0", array, datatype="BF16")])
    assert np.array_equal(result.as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_compression(client, algorithm, binary):
    array = np.arange(20000, dtype=np.float32).reshape(1, -1)
    result = client.infer("identity_fp32", [given("INPUT0", array, binary)],
                          outputs=[http.InferRequestedOutput("OUTPUT0", binary_data=binary)],
                          request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
    assert np.array_equal(result.as_numpy("OUTPUT0"), array)


def test_no_outputs_asked_means_all_in_binary(client):
    result = client.infer("simple", simple_inputs())
    assert np.array_equal(result.as_numpy("OUTPUT0")[0], np.arange(16) + 1)
    assert np.array_equal(result.as_numpy("OUTPUT1")[0], np.arange(16) - 1)
    assert result.as_numpy("NOPE") is None


def test_asynchronous(one):
    with http.InferenceServerClient(f"127.0.0.1:{one.port}", concurrency=4) as client:
        asked = [client.async_infer("simple", simple_inputs(binary=at % 2 == 0), request_id=str(at))
                 for at in range(40)]
        for at, request in enumerate(asked):
            result = request.get_result()
            assert result.get_response()["id"] == str(at)
            assert np.array_equal(result.as_numpy("OUTPUT1")[0], np.arange(16) - 1)


def test_asyncio(one):
    async def ask():
        async with aio.InferenceServerClient(f"127.0.0.1:{one.port}") as client:
            assert await client.is_server_live() and await client.is_model_ready("simple")
            results = await asyncio.gather(*(client.infer("simple", simple_inputs()) for _ in range(20)))
            return [result.as_numpy("OUTPUT0")[0].tolist() for result in results]

    assert asyncio.run(ask()) == [[i + 1 for i in range(16)]] * 20


def test_classification(client):
    array = np.array([[0.5, -0.25]], dtype=np.float32)
    plain = client.infer("classifier", [given("input", array)]).as_numpy("probabilities")[0]
    labels = client.infer("classifier", [given("input", array)], outputs=[
        http.InferRequestedOutput("probabilities", class_count=3)]).as_numpy("probabilities")
    assert labels.shape == (1, 3)
    order = [int(label.decode().split(":")[1]) for label in labels[0]]
    assert order == list(np.argsort(-plain))


def test_parameters_that_have_no_effect_here(client):
    result = client.infer("simple", simple_inputs(), sequence_id=7, sequence_start=True, sequence_end=True, priority=2,
                          timeout=10_000_000, parameters={"mine": "yes", "count": 3, "flag": True})
    assert result.as_numpy("OUTPUT0")[0][0] == 1


def test_errors_reach_the_caller_in_words(client):
    short = [given("INPUT0", np.zeros((1, 15), dtype=np.int32)), simple_inputs()[1]]
    with pytest.raises(InferenceServerException, match=r"unexpected shape for input 'INPUT0' for model 'simple'. "
                                                       r"Expected \[-1,16\], got \[1,15\]"):
        client.infer("simple", short)
    with pytest.raises(InferenceServerException, match="expected 2 inputs but got 1 inputs for model 'simple'"):
        client.infer("simple", simple_inputs()[:1])
    wrong = [given("INPUT0", np.zeros((1, 16), dtype=np.float32)), simple_inputs()[1]]
    with pytest.raises(InferenceServerException,
                       match="inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'"):
        client.infer("simple", wrong)
    with pytest.raises(InferenceServerException) as raised:
        client.infer("gather", [given("INDEX", np.array([10], dtype=np.int64))])
    assert raised.value.status() == "500"


def test_a_raw_body_is_read_by_the_response_parser(client, one):
    body, length = http.InferenceServerClient.generate_request_body(simple_inputs())
    answer = one.request("POST", "/v2/models/simple/infer", body, {"Inference-Header-Content-Length": str(length)})
    result = http.InferenceServerClient.parse_response_body(
        answer.body, header_length=int(answer.headers["Inference-Header-Content-Length"]))
    assert np.array_equal(result.as_numpy("OUTPUT0")[0], np.arange(16) + 1)


def test_repository_and_statistics(client):
    for _ in range(5):
        client.infer("plus1", [given("X", np.zeros((3, 4), dtype=np.float32))])
    stats = client.get_inference_statistics("plus1")["model_stats"][0]
    assert (stats["inference_count"], stats["execution_count"]) == (15, 5)
    assert stats["inference_stats"]["success"]["count"] == 5
    assert len(client.get_inference_statistics()["model_stats"]) == len(TYPES) + 6
    client.unload_model("plus1")
    assert not client.is_model_ready("plus1")
    client.load_model("plus1")
    assert client.is_model_ready("plus1")
    with pytest.raises(InferenceServerException, match="not supported"):
        client.load_model("plus1", config="{}")
