# SPDX-License-Identifier: Apache-2.0
"""What `make install` leaves behind works from where it was put: the program, the library, its headers."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACER = pathlib.Path(os.environ.get("PACER_BIN", ROOT / "build" / "pacer"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    dest = tmp_path_factory.mktemp("dest")
    done = subprocess.run(["meson", "install", "-C", str(PACER.parent), "--no-rebuild", "--destdir", str(dest)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return dest / "usr" / "local"


def sanitized():
    return b"__asan_init" in PACER.read_bytes() or b"__tsan_init" in PACER.read_bytes()


def test_program_runs_from_its_new_place(installed):
    done = subprocess.run([installed / "bin" / "pacer", "version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (ROOT / "VERSION").read_text().strip() in done.stdout


def test_program_does_not_point_back_into_the_build_tree(installed):
    dynamic = subprocess.run(["readelf", "-d", installed / "bin" / "pacer"], capture_output=True, text=True).stdout
    paths = [line for line in dynamic.splitlines() if "RPATH" in line or "RUNPATH" in line]
    assert not any(str(ROOT) in line for line in paths), paths


def test_manual_page_and_completions_are_installed(installed):
    assert list((installed / "share" / "man" / "man1").glob("pacer.1*"))
    assert list((installed / "share" / "bash-completion" / "completions").glob("pacer"))


def test_library_exports_only_its_public_names(installed):
    library = next(installed.rglob("libpacer.so"))
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in symbols.splitlines() if line}
    strangers = {n for n in names if not n.startswith("pacer_") and n != "PACER_0"}
    assert "pacer_session_get" in names
    assert not strangers or sanitized(), strangers


@pytest.mark.parametrize("compiler", ["cc", "c++ -x c++ -fsyntax-only"])
def test_headers_stand_alone(installed, compiler, tmp_path):
    for header in sorted((installed / "include" / "pacer").glob("*.h")):
        source = tmp_path / "one.c"
        source.write_text(f"#include <pacer/{header.name}>\nint main(void) {{ return 0; }}\n")
        done = subprocess.run([*compiler.split(), "-Wall", "-Wextra", "-Werror", "-I", str(installed / "include"),
                               "-o", str(tmp_path / "one"), str(source)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def build_and_run(installed, source, tmp_path, *flags):
    """What a program that sees only what was installed prints when it is given the coach's model."""
    if sanitized():
        pytest.skip("a sanitized library needs a sanitized program around it")
    pc = next(installed.rglob("pacer.pc"))
    env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent)}
    pkg = subprocess.run(["pkg-config", f"--define-variable=prefix={installed}", "--cflags", "--libs", "pacer"],
                         env=env, capture_output=True, text=True, check=True).stdout.split()
    program = tmp_path / "program"
    subprocess.run([shutil.which("cc"), "-Wall", "-Wextra", "-Werror", "-o", program, source, *pkg, *flags], check=True)
    libdir = next(installed.rglob("libpacer.so")).parent
    model = ROOT / "examples" / "coach" / "models" / "regime.onnx"
    done = subprocess.run([program, model], env={**os.environ, "LD_LIBRARY_PATH": str(libdir)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_c_program_embeds_the_library(installed, tmp_path):
    out = build_and_run(installed, pathlib.Path(__file__).parent / "embed" / "embed.c", tmp_path)
    assert "calm 0.758" in out
    assert "action" in out.splitlines()[-1]


def test_the_example_asks_from_many_threads(installed, tmp_path):
    out = build_and_run(installed, ROOT / "examples" / "embed" / "batch.c", tmp_path, "-lpthread")
    rows, runs, failed = map(int, re.match(r"(\d+) rows in (\d+) runs, (\d+) failed", out).groups())
    assert rows == 16000 and failed == 0 and 16000 / 64 <= runs <= 16000


def test_the_example_puts_all_parts_together(installed, tmp_path):
    first, second = build_and_run(installed, ROOT / "examples" / "embed" / "decide.c", tmp_path).splitlines()
    assert re.fullmatch(r'\{"class":[012],"confidence":0\.\d+\} \(computed\)', first)
    assert second == first.replace("(computed)", "(kept)")
