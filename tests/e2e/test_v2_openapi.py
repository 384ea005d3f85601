# SPDX-License-Identifier: Apache-2.0
"""GET /openapi.json and GET /api/contracts: well formed, and true to what is served."""
import http.client
import json
import re

import pytest

from conftest import ROOT

VERBS = {"get", "post", "put", "delete", "patch"}
COACH = ROOT / "examples" / "coach"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def resolve(document, ref):
    assert ref.startswith("#/"), ref
    for part in ref[2:].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def is_type(value, name):
    if name in ("number", "integer"):
        return isinstance(value, (int, float) if name == "number" else int) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def check(document, schema, value, where="$"):
    """The few keywords that the server's own schemas use."""
    if "$ref" in schema:
        check(document, resolve(document, schema["$ref"]), value, where)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    assert not types or any(is_type(value, name) for name in types), f"{where}: {value!r} is no {types}"
    assert "enum" not in schema or value in schema["enum"], f"{where}: {value!r}"
    assert "const" not in schema or value == schema["const"], f"{where}: {value!r}"
    if "minimum" in schema:
        assert value >= schema["minimum"], f"{where}: {value!r}"
    if "pattern" in schema:
        assert re.search(schema["pattern"], value), f"{where}: {value!r}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            assert name in value, f"{where}: no {name!r}"
        for name, member in value.items():
            inner = properties.get(name, schema.get("additionalProperties", {}))
            check(document, inner, member, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, member in enumerate(value):
            check(document, schema["items"], member, f"{where}[{index}]")


def refs(value, resource=False):
    """Every $ref that belongs to the document itself, not to a schema with an $id of its own."""
    if isinstance(value, dict):
        if "$id" in value and resource:
            return
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from refs(member, True)
    elif isinstance(value, list):
        for member in value:
            yield from refs(member, True)


def assert_well_formed(document):
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(document["info"])
    names = []
    for path, item in document["paths"].items():
        assert path.startswith("/") and set(item) <= VERBS and item
        wanted = re.findall(r"{(\w+)}", path)
        for operation in item.values():
            names.append(operation.get("operationId"))
            assert operation["summary"] and operation["tags"]
            parameters = operation.get("parameters", [])
            in_path = [parameter for parameter in parameters if parameter["in"] == "path"]
            assert [parameter["name"] for parameter in in_path] == wanted
            assert all(parameter["required"] is True for parameter in in_path)
            headers = [parameter["name"] for parameter in parameters if parameter["in"] != "path"]
            timed = path.endswith("/infer") or operation["tags"] == ["decisions"]
            assert headers == (["X-Request-Timeout-Ms"] if timed else [])
            assert all("schema" in parameter for parameter in parameters)
            assert "200" in operation["responses"]
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d|default", status) and response["description"]
            for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
                for media in body.get("content", {}).values():
                    assert isinstance(media["schema"], dict)
    named = [name for name in names if name]
    assert len(named) == len(set(named))
    for ref in refs(document):
        resolve(document, ref)


SAMPLES = {"model": "simple", "version": "1"}
INPUT = {"datatype": "INT32", "shape": [1, 16], "data": list(range(16))}
BODIES = {"modelInfer": {"id": "x", "inputs": [{"name": "INPUT0", **INPUT}, {"name": "INPUT1", **INPUT}]},
          "repositoryIndex": {"ready": True}, "modelLoad": {}, "modelUnload": None}
BODIES["versionInfer"] = BODIES["modelInfer"]


def test_the_document_is_true(server, models):
    """Every path and verb is served, no verb beside, and every answer has the shape that is promised."""
    one = server(models=models("simple"))
    answer = one.request("GET", "/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    document = answer.json
    assert_well_formed(document)
    assert document["info"]["version"] == one.request("GET", "/v2").json["version"]
    order = sorted(document["paths"].items(), key=lambda entry: "unload" in entry[0])  # unload last
    for template, item in order:
        path = re.sub(r"{(\w+)}", lambda match: SAMPLES[match.group(1)], template)
        allow = set(one.request("OPTIONS", path).headers["Allow"].lower().split(", "))
        assert allow - {"head", "options"} == set(item), path
        for verb, operation in item.items():
            body = BODIES.get(operation["operationId"])
            if body is not None:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                check(document, schema, body)
            answer = one.request(verb.upper(), path, body)
            assert answer.status == 200, (path, answer)
            content = operation["responses"]["200"]["content"]
            assert answer.headers["Content-Type"] in content
            type_ = answer.headers["Content-Type"]
            body = answer.json if type_ == "application/json" else answer.body.decode()
            check(document, content[type_]["schema"], body)
            assert "default" in operation["responses"]
    refused = one.request("POST", "/v2/models/simple/infer", b"{")
    check(document, {"$ref": "#/components/schemas/Error"}, refused.json)


def test_no_decisions_no_contracts(server, models):
    assert server(models=models("simple")).request("GET", "/api/contracts").json == {"contracts": []}


@pytest.fixture(name="coach")
def coach_server(server):
    if not (COACH / "pacer.yaml").is_file():
        pytest.skip("examples/coach/pacer.yaml is not there")
    text = (COACH / "pacer.yaml").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("listen:", "models_dir:")))
    text = re.sub(r"(contract:\s*)(\S+)", lambda match: f"{match.group(1)}{COACH / match.group(2)}", text)
    return server(config=text, models=COACH / "models")


def test_decisions_are_described_by_examples_that_work(coach):
    document = coach.request("GET", "/openapi.json").json
    assert_well_formed(document)
    contracts = coach.request("GET", "/api/contracts").json["contracts"]
    assert contracts
    for contract in contracts:
        assert {"name", "path", "schema", "example", "request_schema", "request_example"} <= set(contract)
        operation = document["paths"][contract["path"]]["post"]
        media = operation["requestBody"]["content"]["application/json"]
        assert media["schema"] == contract["request_schema"] and media["example"] == contract["request_example"]
        response = operation["responses"]["200"]["content"]["application/json"]
        assert response["schema"] == contract["schema"] and response["example"] == contract["example"]
        assert {"400", "415", "422", "500", "503"} <= set(operation["responses"])
        answer = coach.request("POST", contract["path"], contract["request_example"])
        assert answer.status == 200, answer
        assert set(contract["example"]) == set(answer.json)


def test_decisions_want_json(coach):
    path = coach.request("GET", "/api/contracts").json["contracts"][0]["path"]
    for content_type in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        answer = coach.request("POST", path, b"{}", {"Content-Type": content_type})
        assert answer.status == 415 and content_type in answer.json["error"]
    for content_type in ("application/json", "Application/JSON; charset=utf-8", "application/problem+json"):
        assert coach.request("POST", path, b"{}", {"Content-Type": content_type}).status == 400
    assert coach.request("GET", path).status == 405
    assert coach.request("GET", path).headers["Allow"] == "POST, OPTIONS"


def test_a_document_outlives_the_connection_that_asked(server, models):
    """HEAD, keep-alive and a peer that goes away in the middle leave nothing behind (a sanitizer run sees leaks)."""
    one = server(models=models("simple"))
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)
        connection.request("GET", "/openapi.json")
        connection.close()
    assert json.loads(one.request("GET", "/openapi.json").body)["paths"]
