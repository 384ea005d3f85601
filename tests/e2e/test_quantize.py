# SPDX-License-Identifier: Apache-2.0
"""pacer quantize, and serving what it made."""
import json
import pathlib
import shutil
import subprocess

import pytest

from conftest import MODELS, ROOT

MLP = ROOT / "bench" / "models" / "mlp.onnx"  # 32-64-64-3
QUICK = ("--seconds", "0.01", "--batch", "1", "--rows", "100")


@pytest.fixture
def mlp(tmp_path):
    return pathlib.Path(shutil.copy(MLP, tmp_path / "mlp.onnx"))


def quantize(run, model, out, *more):
    return run("quantize", *QUICK, *more, model, out)


# --- the command ----------------------------------------------------------------------------------
def test_a_model_becomes_int8(run, mlp, tmp_path):
    out = tmp_path / "mlp.int8.onnx"
    done = quantize(run, mlp, out, "--force", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and out.exists(), done.stderr
    assert out.stat().st_size < MLP.stat().st_size / 2
    assert len(report["layers"]) == 3 and report["outputs"][0]["rows"] == 100
    assert b"MatMulInteger" in run("inspect", out).stdout


def test_tables_and_reports(run, mlp, tmp_path):
    done = quantize(run, mlp, tmp_path / "o.onnx", "-f", "-r", tmp_path / "r.html", "-r", tmp_path / "r.json")
    assert done.returncode == 0 and b"drawn" in done.stdout
    assert max(len(line) for line in done.stdout.decode().splitlines() if str(tmp_path) not in line) <= 100
    assert json.loads((tmp_path / "r.json").read_text())["layers"]
    assert "<svg" in (tmp_path / "r.html").read_text()


def test_where_int8_does_not_pay_nothing_is_written(run, tmp_path):
    done = quantize(run, MODELS / "plus1.onnx", tmp_path / "o.onnx")
    assert done.returncode == 0 and b"othing" in done.stdout and not (tmp_path / "o.onnx").exists()
    done = quantize(run, MODELS / "plus1.onnx", tmp_path / "o.onnx", "--force")
    assert done.returncode == 0 and (tmp_path / "o.onnx").exists()


def test_limits_that_cannot_be_held_end_with_3(run, mlp, tmp_path):
    out = tmp_path / "o.onnx"
    done = quantize(run, mlp, out, "--min-snr", "150")
    assert done.returncode == 3 and out.exists()  # the best that was found


def test_data_of_ones_own(run, mlp, tmp_path):
    data = tmp_path / "rows.csv"
    rows = [",".join(f"f{k}" for k in range(32))]
    rows += [",".join(str((i * 7 + k * 3) % 11 / 5 - 1) for k in range(32)) for i in range(60)]
    data.write_text("\n".join(rows) + "\n")
    done = quantize(run, mlp, tmp_path / "o.onnx", "-f", "--calibrate", data, "--per-channel", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 60
    assert b"QuantizeLinear" in run("inspect", tmp_path / "o.onnx").stdout
    data.write_text("\n".join(rows[:3] + [rows[3].replace(",", ",nan,", 1)]) + "\n")
    done = quantize(run, mlp, tmp_path / "p.onnx", "-c", data)
    assert done.returncode == 5 and b"rows.csv:4" in done.stderr


@pytest.mark.parametrize("options,code,words", [
    (("--max-flips", "200%"), 2, b"100%"),
    (("--max-flips", "much"), 2, b"much"),
    (("--batch", "0"), 2, b"65536"),
    (("--method", "guess"), 2, b"guess"),
    (("--ops", "Relu"), 5, b"MatMul"),
    (("--exclude", "nobody"), 5, b"nobody"),
    (("--report", "report.txt"), 2, b".json"),
    (("--calibrate", "none.csv"), 5, b"none.csv"),
])
def test_bad_options(run, mlp, tmp_path, options, code, words):
    done = quantize(run, mlp, tmp_path / "o.onnx", *options)
    assert done.returncode == code and words in done.stderr, done.stderr
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("name,code,words", [
    ("notonnx.onnx", 4, b"not an ONNX model"),
    ("truncated.onnx", 4, b"cut short"),
    ("external_outside.onnx", 4, b"leads upwards"),
    ("external_missing.onnx", 4, b"not there"),
    ("dynamic_int8.onnx", 4, b"quantized already"),
    ("cycle.onnx", 4, b"no node before it makes"),
    ("nobody.onnx", 4, b"nobody.onnx"),
])
def test_bad_models(run, tmp_path, name, code, words):
    done = quantize(run, MODELS / name, tmp_path / "o.onnx")
    assert done.returncode == code and words in done.stderr, done.stderr
    assert not (tmp_path / "o.onnx").exists()


def test_a_full_disk_has_no_half_file(run, mlp, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", small], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        done = quantize(run, mlp, small / "o.onnx", "-f")
        assert done.returncode == 1 and b"No space left" in done.stderr
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_models_are_timed_beside_each_other(run, mlp, tmp_path):
    out = tmp_path / "mlp.int8.onnx"
    assert quantize(run, mlp, out, "-f").returncode == 0
    done = run("bench", *QUICK, "--json", mlp, out)
    one, other = json.loads(done.stdout)["models"]
    assert [latency["batch"] for latency in one["latencies"]] == [1]
    assert one["bytes"] == mlp.stat().st_size and other["bytes"] == out.stat().st_size
    assert other["rows"] == 100 and 20 < other["snr_db"] < 80
    same = run("bench", *QUICK, mlp, mlp)
    assert same.returncode == 0 and b"the same answers" in same.stdout
    assert run("bench", mlp, MODELS / "plus1.onnx").returncode == 4
    assert run("bench", "--batch", "0", mlp).returncode == 2


def test_the_output_is_never_the_input(run, mlp):
    before = mlp.read_bytes()
    done = quantize(run, mlp, mlp)
    assert done.returncode == 5 and b"the input" in done.stderr and mlp.read_bytes() == before


# --- serving it -----------------------------------------------------------------------------------
REQUEST = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 32], "data": [0.1] * 32}]}


def test_the_variant_is_served(run, server, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(MLP, models / "mlp.onnx")
    assert quantize(run, models / "mlp.onnx", models / "mlp.int8.onnx", "-f").returncode == 0
    one = server(config="models: {mlp: {use_quantized: true}}\n", models=models)
    other = server(models=models)
    said = one.request("GET", "/v2/models/mlp").json["parameters"]
    source = other.request("GET", "/v2/models/mlp").json["parameters"]
    assert said["quantized"] is True and source["quantized"] is False
    assert said["quantized_from"] == source["content_hash"] != said["content_hash"]
    a, b = (s.request("POST", "/v2/models/mlp/infer", REQUEST).json["outputs"][0]["data"] for s in (one, other))
    assert a != b and max(abs(x - y) for x, y in zip(a, b)) < 0.05


def test_a_variant_of_another_model_is_refused(run, server, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(MLP, models / "mlp.onnx")
    assert quantize(run, models / "mlp.onnx", models / "mlp.int8.onnx", "-f").returncode == 0
    with open(models / "mlp.onnx", "ab") as file:  # a doc string: another content, the same answers
        file.write(b"\x32\x01x")
    one = server(config="models: {mlp: {use_quantized: true}}\n", models=models, wait=False)
    one.wait_listening()
    one.wait_for_log("another version")
    index = one.request("POST", "/v2/repository/index", {}).json[0]
    assert index["state"] == "UNAVAILABLE" and "pacer quantize" in index["reason"]
