# SPDX-License-Identifier: Apache-2.0
"""Answers that are kept: both doors, what requests and answers say of it, tiers that fail, restarts."""
import concurrent.futures
import http.client
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COACH = ROOT / "examples" / "coach"
TOKEN = "a-token-of-operators"
OPS = f"ops_listen: 127.0.0.1:0\nops_token: {TOKEN}\n"
KEPT = "models:\n  {model}: {{cache: {{{cache}}}}}\n"


def kept(model="plus1", cache="ttl_s: 300"):
    return KEPT.format(model=model, cache=cache)


def fp32(values, name="X", shape=None):
    return {"name": name, "datatype": "FP32", "shape": shape or [1, len(values)], "data": values}


def ask(one, values=(1, 2, 3, 4), headers=None, model="plus1", **more):
    body = {"inputs": [fp32(list(values))], **more}
    return one.request("POST", f"/v2/models/{model}/infer", body, headers)


def word(answer):
    return answer.headers["X-Pacer-Cache"]


def data(answer):
    return answer.json["outputs"][0]["data"]


def ops(one, method, path, body=None, token=TOKEN):
    port = int(one.wait_for_log(r"operators are listened to on \S*?:(\d+)").group(1))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def figures(one):
    return ops(one, "GET", "/admin/cache")[1]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Redis:
    def __init__(self, program):
        self.program, self.port = program, free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, "--port", str(self.port), "--save", "", "--bind", "127.0.0.1"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"


@pytest.fixture(params=["redis-server", "valkey-server"])
def redis(request):
    program = shutil.which(request.param)
    if not program:
        pytest.skip(f"{request.param} is not installed")
    server = Redis(program)
    yield server
    server.kill()


def connected(one):
    one.wait_for_log(r"cache: redis\S* is connected")


def eventually(check, seconds=10):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- one answer ----------------------------------------------------------------------------------------
def test_an_answer_is_computed_once_whatever_its_form(server, models):
    one = server(config=kept(), models=models("plus1"))
    first = ask(one, id="first")
    assert word(first) == "miss" and first.headers["Age"] is None
    assert re.fullmatch(r"pacer; fwd=miss; stored; key=[0-9a-f]{32}", first.headers["Cache-Status"])
    again = ask(one, id="second \"quoted\"")
    assert word(again) == "hit-l1" and again.headers["Age"] == "0"
    assert re.fullmatch(r"pacer; hit; ttl=\d+; key=[0-9a-f]{32}", again.headers["Cache-Status"])
    assert again.json["id"] == "second \"quoted\"" and first.json["id"] == "first"
    assert data(again) == data(first) == [2, 3, 4, 5]
    for text in ('{"inputs":[{"data":[1.0,2.0e0,3,4],"shape":[1,4],"datatype":"FP32","name":"X"}]}',
                 ' { "id" : "x", "inputs" : [ { "name":"X","datatype":"FP32","shape":[1,4],"data":[[1,2,3,4]] } ] } ',
                 '{"inputs":[{"name":"X","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}],"parameters":{"timeout":9000000,"priority":1}}'):
        same = one.request("POST", "/v2/models/plus1/infer", text.encode(), {"Content-Type": "application/json"})
        assert same.status == 200 and word(same) == "hit-l1" and data(same) == [2, 3, 4, 5]
    stats = one.request("GET", "/v2/models/plus1/stats").json["model_stats"][0]["inference_stats"]
    assert stats["cache_hit"]["count"] == 4 and stats["cache_miss"]["count"] == 1
    assert stats["compute_infer"]["count"] == 1
    assert one.request("GET", "/v2/models/plus1/config").json["response_cache"] == {"enable": True}


def test_whatever_can_change_the_answer_is_another_question(server, models):
    one = server(config="cache: {tenant_header: X-Tenant}\n" + kept() +
                 "  unnamed_dims: {cache: {ttl_s: 60}}\n",
                 models=models("plus1", "unnamed_dims"))
    assert word(ask(one)) == "miss"
    assert word(ask(one, [1, 2, 3, 4.0000005])) == "miss"
    assert word(ask(one, headers={"X-Tenant": "b"})) == "miss"
    assert word(ask(one, headers={"X-Tenant": "b"})) == "hit-l1"
    assert word(ask(one, outputs=[{"name": "Y"}])) == "miss"
    assert word(ask(one, outputs=[{"name": "Y", "parameters": {"binary_data": True}}])) == "miss"
    binary = ask(one, outputs=[{"name": "Y", "parameters": {"binary_data": True}}])
    assert word(binary) == "hit-l1"
    length = int(binary.headers["Inference-Header-Content-Length"])
    assert binary.headers["Content-Type"] == "application/octet-stream"
    assert len(binary.body) == length + 16 and json.loads(binary.body[:length])["outputs"][0]["name"] == "Y"
    assert word(ask(one, model="unnamed_dims")) == "miss"
    square = {"inputs": [fp32([1, 2, 3, 4], shape=[2, 2])]}
    assert word(one.request("POST", "/v2/models/unnamed_dims/infer", square)) == "miss"


def test_minus_zero_is_zero_and_nan_is_not_kept(server, models):
    one = server(config=kept(), models=models("plus1"))
    assert data(ask(one, [0, 0, 0, 0])) == [1, 1, 1, 1]
    assert word(ask(one, [-0.0, 0, 0, 0])) == "hit-l1"
    nan = b"\x00\x00\xc0\x7f" * 4
    header = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4],
                                     "parameters": {"binary_data_size": 16}}]}).encode()
    for _ in range(2):
        answer = one.request("POST", "/v2/models/plus1/infer", header + nan,
                             {"Inference-Header-Content-Length": str(len(header))})
        assert answer.status == 200 and word(answer) == "bypass"


def test_errors_are_not_kept(server, models):
    one = server(config=kept("gather", "ttl_s: 60, stale_if_error_s: 60"), models=models("gather"))
    body = {"inputs": [{"name": "INDEX", "datatype": "INT64", "shape": [1], "data": [10]}]}
    for _ in range(2):
        assert one.request("POST", "/v2/models/gather/infer", body).status == 500
        assert ask(one, model="gather").status == 400
    body["inputs"][0]["data"] = [3]
    assert word(one.request("POST", "/v2/models/gather/infer", body)) == "miss"


def test_what_a_request_says_of_caching_counts(server, models):
    one = server(config=kept(), models=models("plus1"))
    absent = ask(one, headers={"Cache-Control": "only-if-cached"})
    assert absent.status == 504 and "only-if-cached" in absent.json["error"]
    assert word(ask(one, headers={"Cache-Control": "no-store"})) == "bypass"
    assert word(ask(one)) == "miss"
    assert word(ask(one, headers={"Cache-Control": "only-if-cached"})) == "hit-l1"
    for header in ("no-cache", "max-age=0", "foo, NO-CACHE", 'max-age="0"', "max-age=-1", "max-age=abc"):
        fresh = ask(one, headers={"Cache-Control": header})
        assert word(fresh) == "miss" and "fwd=request" in fresh.headers["Cache-Status"], header
    for header in ("max-age=100", "max-age=99999999999999999999999", "min-fresh=1", "", ",,=;", "max-stale"):
        assert word(ask(one, headers={"Cache-Control": header})) == "hit-l1", header
    time.sleep(1.1)
    assert word(ask(one, headers={"Cache-Control": "max-age=1"})) == "miss"


def test_times_pass(server, models):
    one = server(config=kept("plus1", "ttl_s: 1, stale_while_revalidate_s: 60"), models=models("plus1"))
    assert word(ask(one)) == "miss"
    time.sleep(1.2)
    stale = ask(one)
    assert word(stale) == "stale" and "ttl=-1" in stale.headers["Cache-Status"]
    eventually(lambda: word(ask(one)) == "hit-l1", 3)


def test_a_crowd_with_one_question_is_one_run(server, models):
    one = server(config="threads: 2\nworkers: 2\n" + kept("slow", "ttl_s: 60"), models=models("slow"))
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: ask(one, model="slow"), range(100)))
    assert {a.status for a in answers} == {200} and {tuple(data(a)) for a in answers} == {(1, 2, 3, 4)}
    stats = one.request("GET", "/v2/models/slow/stats").json["model_stats"][0]
    assert stats["execution_count"] == 1
    assert sum(word(a) == "miss" for a in answers) == 1


def test_a_new_version_never_gets_an_old_answer(server, models):
    folder = models("plus1")
    one = server(config=kept() + "cache: {path: kept}\n", models=folder)
    assert data(ask(one)) == [2, 3, 4, 5] and word(ask(one)) == "hit-l1"
    shutil.copy(ROOT / "tests/data/models/plus2.onnx", folder / "plus1.onnx")
    assert one.request("POST", "/v2/repository/models/plus1/load", {}).status == 200
    answer = ask(one)
    assert word(answer) == "miss" and data(answer) == [3, 4, 5, 6]


# --- decisions -----------------------------------------------------------------------------------------
def coach_config(**changes):
    text = (COACH / "pacer.yaml").read_text().replace("contract: ", f"contract: {COACH}/")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return text


def recommend(one, user="u", headers=None, income=1000, **features):
    request = json.loads((COACH / "request.json").read_text())
    request["user_id"] = user
    request["context"]["disposable_income"] = income
    request["features"].update(features)
    return one.request("POST", "/api/coach/recommend", request, headers)


def test_decisions_are_kept_without_who_asks(server):
    one = server(config=coach_config(), models=COACH / "models")
    first = recommend(one, "anna", {"X-Request-Id": "a-1"})
    second = recommend(one, "bert", {"X-Request-Id": 'b"2'})
    assert word(first) == "miss" and word(second) == "hit-l1"
    assert first.json["id"] == "a-1" and second.json["id"] == 'b"2'
    assert {**first.json, "id": 0} == {**second.json, "id": 0}
    other = recommend(one, income=2000)
    assert word(other) == "miss" and other.json["limits"] != first.json["limits"]
    assert word(recommend(one, income=90000)) == "miss"
    assert word(recommend(one, income=91000)) == "hit-l1"  # the limit is the same: 1000
    assert word(recommend(one, headers={"Cache-Control": "no-store"})) == "bypass"
    assert recommend(one, headers={"Cache-Control": "only-if-cached"}, income=77).status == 504
    bad = recommend(one, return_5d="x")
    assert bad.status == 400 and bad.headers["X-Pacer-Cache"] is None


def test_rounded_features_share_an_answer_and_say_so(server):
    config = coach_config(a=("{name: return_5d, label: the 5-day return}", "{name: return_5d, round: 0.01}"))
    one = server(config=config, models=COACH / "models")
    first, second = recommend(one, return_5d=0.0123), recommend(one, return_5d=0.0091)
    assert word(first) == "miss; bucketed" and word(second) == "hit-l1; bucketed"
    values = {f["feature"]: f["value"] for f in first.json["reason"]["factors"]}
    assert values.get("return_5d", 0.01) == 0.01
    assert word(recommend(one, return_5d=0.016)) == "miss; bucketed"


def test_a_contract_that_looks_at_ids_is_asked_each_time(server, tmp_path):
    schema = json.loads((COACH / "contracts/recommendation.schema.json").read_text())
    schema["properties"]["id"]["pattern"] = "^[a-f0-9]"
    contract = tmp_path / "strict.schema.json"
    contract.write_text(json.dumps(schema))
    config = coach_config(a=(f"{COACH}/contracts/recommendation.schema.json", str(contract)))
    one = server(config=config, models=COACH / "models")
    for _ in range(2):
        assert word(recommend(one, headers={"X-Request-Id": "abc"})) == "bypass"
    assert recommend(one, headers={"X-Request-Id": "zzz"}).status == 500


def test_a_changed_decision_does_not_get_old_answers(server):
    one = server(config=coach_config() + "cache: {path: kept}\n", models=COACH / "models")
    before = recommend(one)
    assert word(recommend(one)) == "hit-l1"
    one.config.write_text(coach_config(a=("label: the 5-day return", "label: the week's return"),
                                       b=("max: 1000", "max: 50")) + "cache: {path: kept}\n")
    one.process.send_signal(signal.SIGHUP)
    one.wait_for_log("reloaded")
    after = recommend(one)
    assert word(after) == "miss" and after.json["limits"]["max_amount"] == 50 != before.json["limits"]["max_amount"]


# --- tiers ---------------------------------------------------------------------------------------------
def test_answers_survive_a_restart_and_a_kill(server, models):
    config = kept() + OPS + "cache: {path: var/kept}\n"
    folder = models("plus1")
    one = server(config=config, models=folder)
    for i in range(50):
        ask(one, [i, 0, 0, 0])
    one.stop()
    one = server(config=config, models=folder)
    assert {word(ask(one, [i, 0, 0, 0])) for i in range(50)} == {"hit-lmdb"}
    assert figures(one)["lmdb"]["hits"] == 50
    for round_number in range(3):
        for i in range(200):
            ask(one, [i, round_number, 1, 1])
        one.kill()
        one = server(config=config, models=folder)
        assert {word(ask(one, [i, 0, 0, 0])) for i in range(50)} == {"hit-lmdb"}
        for i in range(200):
            assert data(ask(one, [i, round_number, 1, 1])) == [i + 1, round_number + 1, 2, 2]


def test_replicas_share_answers_and_purges(server, models, redis):
    config = kept() + OPS + f"cache: {{redis_url: \"{redis.url}\"}}\n"
    a, b = server(config=config, models=models("plus1")), server(config=config, models=models("plus1"))
    connected(a), connected(b)
    assert word(ask(a)) == "miss"
    eventually(lambda: figures(a)["redis"]["puts"] == 1)
    assert word(ask(b)) == "hit-redis" and word(ask(b)) == "hit-l1"
    key = re.search("key=([0-9a-f]+)", ask(b).headers["Cache-Status"]).group(1)
    assert ops(a, "POST", "/admin/cache/purge", {"key": key}) == (200, {"removed": {"memory": 1, "lmdb": None,
                                                                                  "redis": 1}})
    eventually(lambda: figures(b)["memory"]["entries"] == 0)
    assert word(ask(b)) == "miss"
    assert ops(b, "POST", "/admin/cache/purge", {"model": "plus1"})[1]["removed"]["memory"] == 1
    assert ops(b, "POST", "/admin/cache/purge", {"model": "plus1"})[1]["removed"] == {"memory": 0, "lmdb": None,
                                                                                     "redis": 0}
    assert ops(b, "POST", "/admin/cache/purge", {"all": True})[0] == 200


def test_requests_go_on_whatever_happens_to_redis(server, models, redis):
    config = kept() + OPS + f"cache: {{redis_url: \"{redis.url}\"}}\n"
    one = server(config=config, models=models("plus1"))
    connected(one)
    number = [0]

    def all_well(n=60):
        began = time.monotonic()
        for _ in range(n):
            number[0] += 1
            answer = ask(one, [number[0], 0, 0, 0])
            assert answer.status == 200 and data(answer) == [number[0] + 1, 1, 1, 1]
        return time.monotonic() - began

    all_well()
    redis.process.send_signal(signal.SIGSTOP)
    assert all_well() < 5
    assert figures(one)["redis"]["state"] != "up"
    redis.process.send_signal(signal.SIGCONT)
    eventually(lambda: all_well(1) and figures(one)["redis"]["state"] == "up", 20)
    redis.kill()
    assert all_well() < 5
    state = figures(one)["redis"]
    assert state["state"] == "down" and state["why"]
    assert 'pacer_cache_store_up{store="redis"} 0' in one.request("GET", "/metrics").body.decode()
    redis.start()
    eventually(lambda: figures(one)["redis"]["state"] == "up", 20)
    all_well()


@pytest.mark.parametrize("cache, words", [
    ("{redis_url: 'http://x'}", "redis_url"), ("{path: pacer.yaml}", "is not a directory"),
    ("{memory_mb: -1}", "memory_mb"), ("{path_mb: 1}", "path_mb"), ("{redis_url: 'redis://:secret@h:0'}", "port")])
def test_what_cannot_be_is_said_at_the_start(run, models, tmp_path, cache, words):
    models("plus1")
    (tmp_path / "pacer.yaml").write_text(f"listen: 127.0.0.1:0\ncache: {cache}\n")
    done = run("serve", tmp_path / "pacer.yaml", timeout=20)
    assert done.returncode == 3
    assert words in done.stderr.decode() and "secret" not in done.stderr.decode()


@pytest.mark.parametrize("config, words", [
    ("cache: {redis_url: 'redis://:secret@h:x'}\n", "the port is no number"),
    (kept("plus1", "ttl_s: -1"), "ttl_s"), (kept("plus1", "ttl_s: 99999999999"), "ttl_s"),
    (kept("plus1", "ttl_s: soon"), "ttl_s"), (kept("plus1", "ttl: 3"), "ttl_s"),
    ("cache: {memory_mb: 99999999999}\n", "memory_mb")])
def test_check_finds_what_cannot_be(run, models, tmp_path, config, words):
    models("plus1")
    (tmp_path / "pacer.yaml").write_text(config)
    done = run("check", tmp_path / "pacer.yaml")
    assert done.returncode == 3 and words in done.stdout.decode() and b"secret" not in done.stdout


@pytest.mark.skipif(not shutil.which("redis-server") or not shutil.which("openssl"), reason="no redis-server or openssl")
@pytest.mark.parametrize("trusted", [True, False])
def test_tls_wants_a_certificate_that_is_trusted_for_the_name(server, models, tmp_path, trusted):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    port = free_port()
    redis = subprocess.Popen(["redis-server", "--port", "0", "--tls-port", str(port), "--tls-cert-file", cert, "--save", "",
                              "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no"],
                             stdout=subprocess.DEVNULL)
    try:
        env = {"SSL_CERT_FILE": str(cert)} if trusted else {}
        config = kept() + OPS + f"cache: {{redis_url: 'rediss://localhost:{port}'}}\n"
        one = server(config=config, models=models("plus1"), env=env)
        if trusted:
            connected(one)
            assert word(ask(one)) == "miss"
            eventually(lambda: figures(one)["redis"]["puts"] == 1)
            ops(one, "POST", "/admin/cache/purge", {"all": True})
            assert figures(one)["redis"]["removed"] == 1
        else:
            one.wait_for_log(r"is not there \(the server's certificate is not accepted: self.signed")
            assert word(ask(one)) == "miss"
    finally:
        redis.kill()
        redis.wait()


def test_stale_windows_need_a_time(run, models, tmp_path):
    models("plus1")
    (tmp_path / "pacer.yaml").write_text(kept("plus1", "stale_if_error_s: 3"))
    done = run("check", tmp_path / "pacer.yaml")
    assert done.returncode == 3 and b"set ttl_s, too" in done.stdout


def test_no_memory_is_no_trouble(server, models):
    one = server(config=kept() + "cache: {memory_mb: 0}\n", models=models("plus1"))
    assert [word(ask(one)) for _ in range(2)] == ["miss", "miss"]
    assert data(ask(one)) == [2, 3, 4, 5]


def test_a_reload_switches_keeping_on_and_off(server, models):
    one = server(models=models("plus1"))
    assert ask(one).headers["X-Pacer-Cache"] is None
    for cache, words in (("ttl_s: 60", ["miss", "hit-l1"]), ("ttl_s: 0", [None, None])):
        before = one.log.count("reloaded")
        one.config.write_text(kept("plus1", cache) + "cache: {tenant_header: X-T}\n")
        one.process.send_signal(signal.SIGHUP)
        eventually(lambda: one.log.count("reloaded") > before)
        assert [word(ask(one)) for _ in range(2)] == words
    one.config.write_text(kept() + "cache: {tenant_header: X-T}\n")
    one.process.send_signal(signal.SIGHUP)
    eventually(lambda: one.log.count("reloaded") == 3)
    assert word(ask(one, headers={"X-T": "a"})) == "miss"
    assert word(ask(one, headers={"X-T": "b"})) == "miss"
    assert word(ask(one, headers={"X-T": "b"})) == "hit-l1"


# --- all at once ---------------------------------------------------------------------------------------
def exchange(sock, file, body, headers=""):
    sock.sendall(f"POST /v2/models/{body[0]}/infer HTTP/1.1\r\nHost: x\r\n{headers}"
                 f"Content-Length: {len(body[1])}\r\n\r\n".encode() + body[1])
    status = int(file.readline().split()[1])
    length = 0
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    return status, json.loads(file.read(length))


def test_nobody_gets_anothers_answer_whatever_happens(server, models, redis):
    """Hits, misses, shared runs, large bodies, resets, purges, reloads and new versions at a time; each answer checked."""
    folder = models("plus1", "long_rows")
    config = ("threads: 2\nworkers: 2\n" + OPS + "models:\n  plus1: {cache: {ttl_s: 1, stale_while_revalidate_s: 1}}\n"
              f"  long_rows: {{cache: {{ttl_s: 60}}}}\ncache: {{memory_mb: 1, path: kept, redis_url: '{redis.url}'}}\n")
    one = server(config=config, models=folder)
    end, wrong, counts = time.monotonic() + 6, [], [0] * 12

    def work(number):
        source = random.Random(number)
        sock = file = None
        while time.monotonic() < end:
            if sock is None:
                sock = socket.create_connection(("127.0.0.1", one.port), timeout=60)
                file = sock.makefile("rb")
            value = source.randrange(40)
            big = source.random() < 0.2
            body = {"inputs": [fp32([value, 1], shape=[1, 2]) if big else fp32([value, 0, 0, 0])], "id": f"{number}"}
            request = ("long_rows" if big else "plus1", json.dumps(body).encode())
            if source.random() < 0.02:  # gone before the answer
                sock.sendall(b"POST /v2/models/plus1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n" * 2)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                sock.close()
                sock = None
                continue
            header = source.choice(["", "", "", "Cache-Control: no-cache\r\n", "Cache-Control: no-store\r\n",
                                    "Cache-Control: max-age=1\r\n", "X-Request-Timeout-Ms: 500\r\n"])
            status, answer = exchange(sock, file, request, header)
            if status == 503:
                continue
            got = answer.get("outputs", [{}])[0].get("data", [])
            good = got[:2] == [value, 1] if big else got in ([value + 1, 1, 1, 1], [value + 2, 2, 2, 2])
            if status != 200 or answer["id"] != f"{number}" or not good:
                wrong.append((status, request, answer))
            counts[number] += 1

    with concurrent.futures.ThreadPoolExecutor(len(counts)) as pool:
        futures = [pool.submit(work, n) for n in range(len(counts))]
        turn = 0
        while time.monotonic() < end:
            turn += 1
            if turn % 4 == 0:
                one.process.send_signal(signal.SIGHUP)
            elif turn % 4 == 1:
                assert ops(one, "POST", "/admin/cache/purge", {"model": "plus1"} if turn % 8 < 4 else {"all": True})[0] == 200
            elif turn % 4 == 2:
                version = "plus2" if turn % 8 < 4 else "plus1"
                shutil.copy(ROOT / f"tests/data/models/{version}.onnx", folder / "new")
                (folder / "new").rename(folder / "plus1.onnx")
                one.request("POST", "/v2/repository/models/plus1/load", {})
            time.sleep(0.1)
        for future in futures:
            future.result()
    assert not wrong, wrong[:3]
    assert min(counts) > 50
    total = figures(one)["total"]
    assert total["hits_memory"] > 100 and total["misses"] > 100
    assert one.stop() == 0
