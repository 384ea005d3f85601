# SPDX-License-Identifier: Apache-2.0
"""Health, metadata, configuration, statistics and the model repository, as clients of the v2 protocol read them."""
import shutil
import threading

import pytest

from conftest import MODELS

INPUTS = [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [2] * 16},
          {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": [1] * 16}]


@pytest.fixture(name="one")
def one_server(server, models):
    return server(models=models("simple", "identity_string", "fixed_batch", "scalar_input"))


def test_server_metadata(one):
    body = one.request("GET", "/v2?test_1=1&test_2=2").json
    assert sorted(body) == ["extensions", "name", "version"]
    assert body["name"] == "pacer"
    assert body["version"].count(".") == 2
    assert sorted(body["extensions"]) == ["binary_tensor_data", "classification", "model_configuration",
                                          "model_repository", "statistics"]


def test_the_name_is_configurable(server, models):
    assert server(config="server_name: triton\n", models=models("simple")).request("GET", "/v2").json["name"] == "triton"


def test_health(one):
    for path, body in (("/v2/health/live", {"live": True}), ("/v2/health/ready", {"ready": True}),
                       ("/v2/models/simple/ready", {"name": "simple", "ready": True}),
                       ("/v2/models/simple/versions/1/ready", {"name": "simple", "ready": True})):
        answer = one.request("GET", path)
        assert (answer.status, answer.json) == (200, body)
        assert answer.headers["Content-Type"] == "application/json"


def test_model_metadata(one):
    for path in ("/v2/models/simple", "/v2/models/simple/versions/1", "/v2/models/s%69mple"):
        metadata = one.request("GET", path).json
        parameters = metadata.pop("parameters")
        assert parameters["quantized"] is False and len(parameters["content_hash"]) == 16
        assert metadata == {
            "name": "simple", "versions": ["1"], "platform": "onnxruntime_onnx",
            "inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]},
                       {"name": "INPUT1", "datatype": "INT32", "shape": [-1, 16]}],
            "outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": [-1, 16]},
                        {"name": "OUTPUT1", "datatype": "INT32", "shape": [-1, 16]}]}
    assert one.request("GET", "/v2/models/scalar_input").json["inputs"] == [
        {"name": "X", "datatype": "FP32", "shape": []}]


def test_model_config_has_what_perf_analyzer_reads(one):
    config = one.request("GET", "/v2/models/simple/config").json
    assert (config["name"], config["platform"], config["backend"]) == ("simple", "onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] > 0
    assert config["input"][0] == {"name": "INPUT0", "data_type": "TYPE_INT32", "dims": [16]}
    assert config["output"][1] == {"name": "OUTPUT1", "data_type": "TYPE_INT32", "dims": [16]}
    assert config["response_cache"] == {"enable": False}
    assert config["model_transaction_policy"] == {"decoupled": False}
    fixed = one.request("GET", "/v2/models/fixed_batch/config").json
    assert fixed["max_batch_size"] == 0
    assert fixed["input"][0]["dims"] == [1, 4]
    text = one.request("GET", "/v2/models/identity_string/versions/1/config").json
    assert text["input"][0]["data_type"] == "TYPE_STRING"


def test_the_config_says_which_variant_runs(server, models):
    directory = models("plus1", "plus2")
    shutil.copy(MODELS / "plus2.onnx", directory / "plus1.int8.onnx")
    one = server(config="models: {plus1: {use_quantized: true}}\n", models=directory)
    for name, quantized in (("plus1", "true"), ("plus2", "false")):
        parameters = one.request("GET", f"/v2/models/{name}/config").json["parameters"]
        assert parameters["quantized"] == {"string_value": quantized}
        assert len(parameters["content_hash"]["string_value"]) == 16
        assert one.request("GET", f"/v2/models/{name}").json["parameters"]["quantized"] == (quantized == "true")


def test_statistics_count_and_add_up(one):
    def stats(path):
        return one.request("GET", path).json["model_stats"]

    before = stats("/v2/models/simple/stats")[0]
    for _ in range(3):
        batch = [dict(tensor, shape=[2, 16], data=tensor["data"] * 2) for tensor in INPUTS]
        assert one.request("POST", "/v2/models/simple/infer", {"inputs": batch}).status == 200
    after = stats("/v2/models/simple/versions/1/stats")[0]
    assert (after["name"], after["version"]) == ("simple", "1")
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 3
    assert after["last_inference"] > before["last_inference"]
    parts = after["inference_stats"]
    assert sorted(parts) == ["cache_hit", "cache_miss", "compute_infer", "compute_input", "compute_output", "fail",
                             "queue", "success"]
    for name, part in parts.items():
        assert sorted(part) == ["count", "ns"] and all(isinstance(value, int) for value in part.values()), name
    assert parts["success"]["count"] - before["inference_stats"]["success"]["count"] == 3
    assert parts["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    everyone = stats("/v2/models/stats")
    assert sorted(model["name"] for model in everyone) == ["fixed_batch", "identity_string", "scalar_input", "simple"]


def test_index(one):
    expected = [{"name": name, "version": "1", "state": "READY", "reason": ""}
                for name in ("fixed_batch", "identity_string", "scalar_input", "simple")]
    for body in (None, b"", b"{}", {"ready": True}, {"ready": False}):
        answer = one.request("POST", "/v2/repository/index", body)
        assert (answer.status, answer.json) == (200, expected)
    for body in (b"[]", b"{", {"ready": 1}):
        answer = one.request("POST", "/v2/repository/index", body)
        assert answer.status == 400 and answer.json["error"]


def test_a_broken_model_is_told_and_keeps_no_other_from_serving(server, models):
    one = server(models=models("simple", "truncated"), wait=False)
    one.port = int(one.wait_for_log(r"ready on \S*?:(\d+):").group(1))
    index = {model["name"]: model for model in one.request("POST", "/v2/repository/index").json}
    assert index["simple"]["state"] == "READY"
    assert index["truncated"]["state"] == "UNAVAILABLE" and index["truncated"]["reason"]
    assert [model["name"] for model in one.request("POST", "/v2/repository/index", {"ready": True}).json] == ["simple"]
    assert one.request("POST", "/v2/models/simple/infer", {"inputs": INPUTS}).status == 200
    assert one.request("GET", "/v2/health/live").status == 200
    ready = one.request("GET", "/v2/health/ready")
    assert (ready.status, ready.json) == (503, {"ready": False})
    ready = one.request("GET", "/v2/models/truncated/ready")
    assert (ready.status, ready.json) == (503, {"name": "truncated", "ready": False})
    answer = one.request("POST", "/v2/models/truncated/infer", {"inputs": []})
    assert answer.status == 503 and "truncated" in answer.json["error"]


def test_load_and_unload(server, models):
    directory = models("simple")
    one = server(models=directory)
    path = "/v2/repository/models"
    assert one.request("POST", f"{path}/simple/unload", {"parameters": {"unload_dependents": False}}).status == 200
    assert one.request("GET", "/v2/models/simple/ready").status in (404, 503)
    assert one.request("POST", "/v2/models/simple/infer", {"inputs": INPUTS}).status in (404, 503)
    assert one.request("POST", f"{path}/simple/load", b"").status == 200
    assert one.request("GET", "/v2/models/simple/ready").status == 200
    shutil.copy(MODELS / "plus1.onnx", directory)
    answer = one.request("POST", f"{path}/plus1/load", b"{}")
    assert (answer.status, answer.json) == (200, {})
    row = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    assert one.request("POST", "/v2/models/plus1/infer", {"inputs": [row]}).json["outputs"][0]["data"] == [2, 3, 4, 5]
    shutil.copy(MODELS / "plus2.onnx", directory / "plus1.onnx")
    assert one.request("POST", f"{path}/plus1/load").status == 200
    assert one.request("POST", "/v2/models/plus1/infer", {"inputs": [row]}).json["outputs"][0]["data"] == [3, 4, 5, 6]


def test_load_and_unload_refuse(one):
    path = "/v2/repository/models"
    for action in ("load", "unload"):
        answer = one.request("POST", f"{path}/nope/{action}")
        assert answer.status == 404 and "nope" in answer.json["error"]
        assert one.request("POST", f"{path}/simple/{action}", b"[1]").status == 400
        assert one.request("POST", f"{path}/simple/{action}", b"{").status == 400
        assert one.request("POST", f"{path}/simple/{action}", {"parameters": 1}).status == 400
    answer = one.request("POST", f"{path}/simple/load", {"parameters": {"config": "{}"}})
    assert answer.status == 501 and "'config'" in answer.json["error"]
    assert one.request("POST", f"{path}/simple/unload", {"parameters": {"unload_dependents": 1}}).status == 400
    for name in ("..", "%2e%2e%2fsimple", "%00", "a%2fb"):
        assert one.request("POST", f"{path}/{name}/load").status in (400, 404)


def test_requests_go_on_while_a_model_is_loaded_again(one):
    failures = []
    done = threading.Event()

    def ask():
        connection = one.connect()
        while not done.is_set():
            connection.request("GET", "/v2/models/simple/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failures.append(answer.status)
        connection.close()

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(20):
        assert one.request("POST", "/v2/repository/models/simple/load").status == 200
    done.set()
    asking.join()
    assert not failures


@pytest.mark.parametrize("method,path,allow", [
    ("POST", "/v2", "GET, HEAD, OPTIONS"),
    ("DELETE", "/v2/models/simple", "GET, HEAD, OPTIONS"),
    ("GET", "/v2/models/simple/infer", "POST, OPTIONS"),
    ("HEAD", "/v2/models/simple/infer", "POST, OPTIONS"),
    ("PUT", "/v2/models/nope/infer", "POST, OPTIONS"),
    ("GET", "/v2/repository/index", "POST, OPTIONS"),
    ("POST", "/v2/health/live", "GET, HEAD, OPTIONS"),
    ("POST", "/openapi.json", "GET, HEAD, OPTIONS"),
])
def test_wrong_verbs(one, method, path, allow):
    answer = one.request(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allow
    if method != "HEAD":
        assert answer.json == {"error": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/", "/v2/models", "/v2/models/simple/", "/v2/models/simple/nope",
                                  "/v2/models//infer", "/v2/health", "/v2/repository/models/simple",
                                  "/v2/models/simple/versions", "/v2/trace/setting"])
def test_unknown_paths(one, path):
    answer = one.request("GET", path)
    assert (answer.status, answer.json) == (404, {"error": "Not Found"})
    assert one.request("POST", path, b"{}").status == 404


@pytest.mark.parametrize("path", ["/v2/models/nope", "/v2/models/nope/config", "/v2/models/nope/stats",
                                  "/v2/models/nope/ready", "/v2/models/simple/versions/7",
                                  "/v2/models/simple/versions/x/ready"])
def test_unknown_models(one, path):
    answer = one.request("GET", path)
    assert answer.status == 404
    assert "not found" in answer.json["error"]


def test_head_and_options(one):
    for path in ("/v2", "/v2/health/live", "/v2/models/simple", "/openapi.json"):
        get, head = one.request("GET", path), one.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
    answer = one.request("OPTIONS", "/v2/models/simple/infer")
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, "POST, OPTIONS", b"")
