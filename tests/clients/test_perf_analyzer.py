# SPDX-License-Identifier: Apache-2.0
"""perf_analyzer, unmodified: it reads metadata, configuration and statistics without checking, and ends on a surprise."""
import os
import re
import subprocess

import pytest

PROGRAM = os.environ.get("PERF_ANALYZER", "perf_analyzer")


@pytest.fixture(name="analyze", scope="module")
def analyze_fixture():
    env = {**os.environ, "LD_LIBRARY_PATH": os.environ.get("PERF_ANALYZER_LIBS", "")}
    try:
        subprocess.run([PROGRAM, "--help"], env=env, capture_output=True, timeout=60, check=False)
        linked = subprocess.run(["ldd", PROGRAM], env=env, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        pytest.skip(f"perf_analyzer is not there: {error}")
    missing = re.findall(r"(\S+) => not found", linked.stdout)
    if missing:
        pytest.skip(f"perf_analyzer needs {', '.join(missing)}, which could not be had")

    def call(server, model, *options):
        # A wide stability band: this shows that the tool works with the server, it measures nothing.
        done = subprocess.run([PROGRAM, "-m", model, "-i", "http", "-u", f"127.0.0.1:{server.port}",
                               "--measurement-interval", "300", "--stability-percentage", "999", *options],
                              env=env, capture_output=True, text=True, timeout=120, check=False)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "Failed" not in output and "rror" not in output, output
        assert float(re.search(r"throughput: ([\d.]+) infer/sec", output).group(1)) > 0
        return output

    return call


@pytest.mark.parametrize("model,options", [
    ("simple", ()),
    ("simple", ("-b", "8")),
    ("simple", ("-b", "2", "--input-tensor-format=json", "--output-tensor-format=json")),
    ("simple", ("--concurrency-range", "4", "--async")),
    ("identity_fp32", ("--shape", "INPUT0:8")),
    ("simple_string", ("--string-data", "7")),
    ("fixed_batch", ()),
])
def test_it_measures(server, models, analyze, model, options):
    one = server(models=models(model))
    output = analyze(one, model, *options)
    counted = int(re.search(r"Successful request count: (\d+)", output).group(1))
    executed = int(re.search(r"Execution count: (\d+)", output).group(1))
    assert 0 < executed <= counted  # requests share runs
