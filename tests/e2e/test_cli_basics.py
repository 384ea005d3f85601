# SPDX-License-Identifier: Apache-2.0
"""Help, versions, wrong command lines, completions, and documents that are made from the tables."""
import json
import os
import pty
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

COMMANDS = ["serve", "check", "run", "inspect", "quantize", "bench", "version", "help", "completion"]
GENERATED = ["docs/pacer.1", "docs/cli.md", "docs/configuration.md", "etc/pacer.sample.yaml",
             "etc/completion/pacer.bash", "etc/completion/_pacer", "etc/completion/pacer.fish"]


def test_help_lists_every_command(run):
    done = run("--help")
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout == run("-h").stdout == run("help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.stdout.decode(), re.M)
    assert "docs" not in done.stdout.decode()


@pytest.mark.parametrize("args", [["--help"], ["help", "exit-codes"], *[[c, "--help"] for c in COMMANDS]])
def test_help_fits_two_screens(run, args):
    done = run(*args)
    assert done.returncode == 0 and done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert 4 < len(lines) <= 48
    assert max(len(line) for line in lines) <= 80
    assert "\033" not in done.stdout.decode()


def test_help_of_a_command_by_either_way(run):
    for command in COMMANDS:
        assert run("help", command).stdout == run(command, "-h").stdout


def test_no_command_is_wrong_usage(run):
    done = run()
    assert done.returncode == 2 and done.stdout == b"" and b"Usage:" in done.stderr


@pytest.mark.parametrize("args, message", [
    (["serv"], "unknown command 'serv'; did you mean 'serve'?"),
    (["xyzzy"], "unknown command 'xyzzy'"),
    (["--serve"], "unknown option '--serve'"),
    (["serve", "--lisen", "x"], "unknown option '--lisen'; did you mean '--listen'?"),
    (["serve", "-x"], "unknown option '-x'"),
    (["serve", "--listen"], "--listen needs a value: --listen ADDRESS"),
    (["serve", "a", "b"], "'b' is one argument too many"),
    (["serve", "--set", "threads"], "--set threads: expected KEY=VALUE"),
    (["serve", "--set", "=3"], "--set =3: expected KEY=VALUE"),
    (["check"], "CONFIG is missing"),
    (["check", "--json", "-j", "x"], "--json is given twice"),
    (["check", "--json=yes", "x"], "--json takes no value"),
    (["version", "x"], "'x' is one argument too many"),
    (["version", "--", "--json"], "'--json' is one argument too many"),
    (["help", "nothing"], "no help on 'nothing'"),
    (["completion", "tcsh"], "no completion for 'tcsh'"),
    (["inspect"], "MODEL is missing"),
    (["run", "a", "-i"], "--input needs a value"),
])
def test_wrong_command_lines(run, args, message):
    done = run(*args)
    text = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b""
    assert text.startswith("pacer: ") and message in text
    assert "Try 'pacer " in text and "--help'" in text


def test_exit_codes_are_told(run):
    text = run("help", "exit-codes").stdout.decode()
    assert re.findall(r"^  (\d)  \S", text, re.M) == ["0", "1", "2", "3", "4", "5"]


def test_version(run):
    expected = (ROOT / "VERSION").read_text().strip()
    assert run("version").stdout.decode().startswith(f"pacer {expected} (ONNX Runtime 1.")
    assert run("--version").stdout == run("-V").stdout == run("version").stdout
    assert json.loads(run("version", "--json").stdout)["version"] == expected


def test_output_that_cannot_be_written(pacer):
    for args in (["version"], ["help"], ["completion", "zsh"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([pacer, *args], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
        assert done.returncode == 1
        assert b"pacer: cannot write the output: No space left" in done.stderr


def test_closed_output(pacer):
    done = subprocess.run(["sh", "-c", '"$0" version >&-', pacer], stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 1 and b"cannot write the output" in done.stderr


def on_terminal(pacer, args, env):
    try:
        master, slave = pty.openpty()
    except OSError as error:  # a bare root without /dev/pts
        pytest.skip(f"no terminal can be made here: {error}")
    try:
        done = subprocess.Popen([pacer, *args], stdout=slave, stderr=slave, stdin=subprocess.DEVNULL,
                                env={**os.environ, "TERM": "xterm", **env})
        os.close(slave)
        text = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            text += part
        done.wait(30)
        return text
    finally:
        os.close(master)


def test_colour_on_a_terminal_only(pacer):
    plain = {key: value for key, value in {"NO_COLOR": ""}.items()}
    assert b"\033[1m" in on_terminal(pacer, ["help"], plain)
    assert b"\033[1m" in on_terminal(pacer, ["bogus"], plain)
    assert b"\033" not in on_terminal(pacer, ["help"], {"NO_COLOR": "1"})
    assert b"\033" not in on_terminal(pacer, ["help"], {**plain, "TERM": "dumb"})


# --- generated documents --------------------------------------------------------------------------
def test_committed_documents_are_those_of_the_tables(run, tmp_path):
    for folder in ("docs", "etc/completion"):
        (tmp_path / folder).mkdir(parents=True)
    done = run("docs", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().split()) == sorted(GENERATED)
    for name in GENERATED:
        made = (tmp_path / name).read_bytes()
        assert len(made) > 500
        assert (ROOT / name).read_bytes() == made, f"{name} is not what the tables say; run: make docs"


def test_docs_need_somewhere_to_go(run, tmp_path):
    done = run("docs", tmp_path / "nowhere")
    assert done.returncode == 1 and b"cannot create" in done.stderr


def test_reference_pages_hold_every_key(run):
    table = (ROOT / "src/config/options.def").read_text()
    keys = re.findall(r'^[A-Z]+_OPTION\("([a-z_.]+)"', table, re.M)
    page = (ROOT / "docs/configuration.md").read_text()
    man = (ROOT / "docs/pacer.1").read_text()
    assert len(keys) > 40
    for key in keys:
        # A section of the top level has a table of its own, one of a struct has not.
        assert f"| `{key}` |" in page or f"| `{key.split('.')[-1]}` |" in page
        assert key.replace("-", "\\-") in man


def test_sample_file_says_the_defaults(run, models, tmp_path):
    sample = tmp_path / "pacer.yaml"
    shutil.copy(ROOT / "etc/pacer.sample.yaml", sample)
    models("plus1")
    done = run("check", sample)
    assert done.returncode == 0, done.stdout
    assert done.stdout.decode() == f"{sample}: ok (0 decisions, 1 model)\n"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_manual_page_is_sound(tmp_path):
    done = subprocess.run(["groff", "-man", "-ww", "-Tascii", "-rLL=100n", str(ROOT / "docs/pacer.1")],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=True)
    assert b"warning" not in done.stderr, done.stderr
    assert b"EXIT STATUS" in re.sub(rb".\x08|\033\[[0-9;]*m", b"", done.stdout)


# --- completion -----------------------------------------------------------------------------------
def complete(run, tmp_path, *words):
    script = tmp_path / "pacer.bash"
    script.write_bytes(run("completion", "bash").stdout)
    listed = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(
        ["bash", "--norc", "-euc", f'source "$0"; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; '
         '_pacer; printf "%s\\n" "${COMPREPLY[@]}"', str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, cwd=tmp_path, check=True)
    return done.stdout.decode().split()


def test_bash_completes(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "fine.yaml").touch()
    assert complete(run, tmp_path, "pacer", "") == [*COMMANDS, "--help", "--version"]
    assert complete(run, tmp_path, "pacer", "se") == ["serve"]
    assert complete(run, tmp_path, "pacer", "serve", "--li") == ["--listen"]
    assert complete(run, tmp_path, "pacer", "serve", "--log-level", "") == ["debug", "info", "warn", "error"]
    assert complete(run, tmp_path, "pacer", "serve", "--models", "f") == ["folder"]
    assert sorted(complete(run, tmp_path, "pacer", "check", "f")) == ["fine.yaml", "folder"]
    assert complete(run, tmp_path, "pacer", "completion", "") == ["bash", "zsh", "fish"]
    assert "exit-codes" in complete(run, tmp_path, "pacer", "help", "")


@pytest.mark.parametrize("shell, check", [("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])])
def test_other_shells_can_read_theirs(run, tmp_path, shell, check):
    script = tmp_path / "script"
    script.write_bytes(run("completion", shell).stdout)
    text = script.read_text()
    for command in COMMANDS:
        assert command in text
    assert "--listen" in text or "-l listen" in text
    if shutil.which(check[0]):
        subprocess.run([*check, str(script)], check=True, timeout=30)
