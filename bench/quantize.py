#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What INT8 gains and loses, model by model, beside FP32 in the same run.

    python3 bench/quantize.py [--seconds S] [--write-docs]

Each network of build/bench/models (bench/make_models.py) is quantized twice by `pacer quantize --force`: dynamically, and
with ranges of its rows; the evidence is taken on the same ones. The weights are random, so accuracy says how
much noise INT8 adds, not what a trained model would lose. --write-docs puts the table into docs/quantization.md.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "build" / "bench" / "models"
PACER = ROOT / "build" / "bench-build" / "pacer"
NAMES = ("mlp_32", "mlp_128", "mlp_512", "mlp_big", "lstm", "transformer", "cnn")
BEGIN, END = "<!-- quantize:begin -->", "<!-- quantize:end -->"


def quantize(name, seconds, out, *more):
    done = subprocess.run(
        [PACER, "quantize", "--force", "--json", "--quiet", "--seconds", str(seconds), "--data", MODELS / f"{name}.npy",
         *more, MODELS / f"{name}.onnx", out], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench-quantize: {name}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def time(us):
    return f"{us:.3g}" if us < 1000 else f"{us:.0f}"


def row(name, kind, report):
    cells = [name, kind, f"{report['bytes_before'] / 1e6:.2f}", f"{report['bytes_before'] / report['bytes_after']:.2f}"]
    for latency in report["latencies"]:
        bold = "**" if latency["speedup"] >= 1 else ""
        cells.append(f"{time(latency['fp32_p50_us'])} / {time(latency['int8_p50_us'])} = {bold}{latency['speedup']:.2f}{bold}")
    output = report["outputs"][0]
    snr = output["error"]["snr_db"]  # null where nothing differs
    cells.append("exact" if snr is None else f"{snr:.1f}")
    cells.append(f"{100 * output['flips'] / output['rows']:.1f} %" if output["has_classes"] else "–")
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    lines = ["| network | INT8 | MB | smaller | batch 1: FP32 / INT8 µs | batch 8 | batch 64 | SNR dB | other class |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    processor = ""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.onnx"
        for name in NAMES:
            for kind, more in (("dynamic", ()), ("static", ("--calibrate", MODELS / f"{name}.npy", "--per-channel"))):
                report = quantize(name, args.seconds, out, *more)
                processor = f"{report['processor']}, one thread, ONNX Runtime {report['runtime']}"
                lines.append(row(name, kind, report))
                print(lines[-1], flush=True)
    text = f"Measured on {processor}, {os.cpu_count()} cores, with `make bench-quantize`.\n\n" + "\n".join(lines) + "\n"
    print("\n" + text)
    if args.write_docs:
        page = ROOT / "docs" / "quantization.md"
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


if __name__ == "__main__":
    main()
