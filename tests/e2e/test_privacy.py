# SPDX-License-Identifier: Apache-2.0
"""Nothing is written outside: official builds of ONNX Runtime would record events in the user's home and in /tmp."""
import os
import pathlib

from conftest import MODELS


def test_neither_home_nor_tmp_is_written(run, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    before = set(pathlib.Path("/tmp").iterdir())
    env = {**os.environ, "HOME": str(home), "TMPDIR": str(temporary)}
    env.pop("ORT_DISABLE_TELEMETRY", None)  # pacer sets it itself
    body = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,1],"data":[1]}]}'
    done = run("run", MODELS / "identity_fp32.onnx", "--input", "-", input=body, env=env)
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    assert list(temporary.rglob("*")) == []
    new = {path.name for path in set(pathlib.Path("/tmp").iterdir()) - before}
    assert not [name for name in new if name.startswith("mat-debug") or name == ".ses"]
