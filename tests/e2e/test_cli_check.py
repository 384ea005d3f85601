# SPDX-License-Identifier: Apache-2.0
"""pacer check: faults of the file, of the models and of decisions, in both forms of output."""
import json

import pytest

from conftest import ROOT

COACH = ROOT / "examples" / "coach"
CONTRACT = '{"type": "object"}'
DECISION = """decisions:
  - path: /decide
    model: classifier
    features: [up, down]
    actions: {rise: buy, fall: sell, stay: hold}
    contract: contract.json
"""


@pytest.fixture
def config(tmp_path, models):
    """Writes a configuration beside the models it needs."""

    def write(text, *names):
        models(*(names or ("classifier",)))
        (tmp_path / "contract.json").write_text(CONTRACT)
        file = tmp_path / "pacer.yaml"
        file.write_text(text)
        return file

    return write


def test_the_example_is_sound(run):
    done = run("check", COACH / "pacer.yaml")
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.decode() == f"{COACH}/pacer.yaml: ok (1 decision, 1 model)\n"


def test_a_sound_file_as_json(run, config):
    file = config(DECISION)
    done = run("check", "--json", file)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout) == {"file": str(file), "ok": True, "decisions": 1, "models": 1,
                                       "models_checked": True, "faults": [],
                                       "faults_not_shown": 0}


def test_all_faults_with_their_places(run, config):
    file = config("thread: 3\nhttp:\n  idle_timeout_ms: soon\n  gzip_level: 99\nthreads: 1\nthreads: 2\n")
    done = run("check", file)
    assert done.returncode == 3
    lines = done.stdout.decode().splitlines()
    assert [line.split(": ")[0].removeprefix(f"{file}") for line in lines] == [":1:1", ":3:20", ":4:15", ":6:1"]
    assert "did you mean 'threads'?" in lines[0]
    assert done.stderr.decode() == f"pacer: 4 faults in {file}\n"
    found = json.loads(run("check", file, "-j").stdout)
    assert found["ok"] is False
    assert [(fault["line"], fault["column"]) for fault in found["faults"]] == [(1, 1), (3, 20), (4, 15), (6, 1)]


def test_a_fault_does_not_hide_those_of_models_and_decisions(run, config):
    broken = DECISION.replace("model: classifier", "model: nothing")
    file = config("http:\n  gzip_level: 99\n" + broken, "plus1", "noise")
    text = run("check", file).stdout.decode()
    assert f"{file}:2:15: " in text and "the model 'noise', version 1 cannot be loaded" in text
    assert "no model 'nothing' in models_dir" in text
    found = json.loads(run("check", "--json", file).stdout)
    assert found["models_checked"] is True and len(found["faults"]) == 3


def test_nothing_is_said_that_only_follows_from_a_fault(run, config):
    file = config("model_dir: elsewhere\n" + DECISION.replace("contract:", "contrakt:"))
    (file.parent / "models").rename(file.parent / "elsewhere")
    done = run("check", file)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 3, lines  # two unknown keys, and that there is no contract
    assert "did you mean 'models_dir'?" in lines[0]
    assert "not looked at" in done.stderr.decode()
    file.write_text("decisions: [\n")
    assert run("check", file).stdout.decode().count("\n") == 1


def test_standard_input(run, config):
    file = config("")
    done = run("check", "-", input=b"a: 1\n", cwd=file.parent)
    assert done.returncode == 3 and done.stdout.startswith(b"standard input:1:1: unknown key 'a'")
    done = run("check", "-", input=b"threads: 1\n", cwd=file.parent)
    assert done.returncode == 0 and done.stdout == b"standard input: ok (0 decisions, 1 model)\n"


def test_the_command_line_is_checked_too(run, config):
    file = config("threads: 1\n")
    done = run("check", file, "--threads=many", "--set", "http.gzip_level=99", "--access-log=perhaps")
    text = done.stdout.decode()
    assert done.returncode == 3
    assert "command line: --threads: 'many' is not a whole number" in text
    assert "command line: --set http.gzip_level: 99 is out of range" in text
    assert "command line: --access-log: 'perhaps' is not true or false" in text
    assert run("check", file, "--threads", "2", "--access-log").returncode == 0


def test_files_that_are_not_there(run, tmp_path):
    done = run("check", tmp_path / "none.yaml")
    assert done.returncode == 3 and b"No such file or directory" in done.stdout
    assert run("check", tmp_path).returncode == 3
    file = tmp_path / "pacer.yaml"
    file.write_text("models_dir: nowhere\n")
    done = run("check", file)
    assert done.returncode == 3 and b"nowhere" in done.stdout and b"No such file" in done.stdout


def test_a_model_that_does_not_load_is_a_fault(run, config):
    done = run("check", config("", "plus1", "noise", "truncated"))
    text = done.stdout.decode()
    assert done.returncode == 3
    assert "the model 'noise'" in text and "the model 'truncated'" in text and "plus1" not in text


def test_settings_of_no_model_are_a_fault(run, config):
    file = config("models:\n  classifier:\n  clasifier: {max_batch_size: 3}\n")
    done = run("check", file)
    assert done.returncode == 3
    assert f"{file}:3: the model 'clasifier' cannot be loaded: " in done.stdout.decode()


@pytest.mark.parametrize("old, new, words", [
    ("model: classifier", "model: nothing", "nothing"),
    ("[up, down]", "[up, down, left]", "3"),
    ("fall: sell, stay: hold", "fall: sell", "stay"),
    ("fall: sell, stay: hold", "fall: sell, stay: hold, other: x", "other"),
])
def test_decisions_that_do_not_fit_their_model(run, config, old, new, words):
    assert old in DECISION
    file = config(DECISION.replace(old, new))
    done = run("check", file)
    text = done.stdout.decode()
    assert done.returncode == 3, text
    assert words in text and str(file) in text


@pytest.mark.parametrize("origin, meant", [
    ("app.example", "https://app.example"),
    ("https://app.example/", "https://app.example"),
    ("app.example/x", "https://app.example"),
    ("http://App.example:8080/a?b", "http://app.example:8080"),
])
def test_origins_that_can_never_match(run, config, origin, meant):
    done = run("check", config(f"cors:\n  origins: ['{origin}']\n"))
    assert done.returncode == 3 and f"did you mean '{meant}'?" in done.stdout.decode(), done.stdout
    assert run("check", config(f"cors:\n  origins: ['{meant}', 'capacitor://localhost', '*']\n")).returncode == 0


def test_a_byte_order_mark_is_no_fault(run, config):
    file = config("")
    file.write_bytes(b"\xef\xbb\xbfthreads: 1\n")
    assert run("check", file).returncode == 0
    file.write_bytes(b"\xef\xbb\xbfthread: 1\n")
    assert run("check", file).stdout.decode().startswith(f"{file}:1:1: unknown key 'thread'")


def test_faults_point_at_the_value(run, config):
    file = config(DECISION.replace("model: classifier", "model: clasifier"))
    done = run("check", file)
    assert done.stdout.decode() == f"{file}:3:12: no model 'clasifier'; did you mean 'classifier'?\n"
    assert done.stderr.decode() == f"pacer: 1 fault in {file}\n"
    (file.parent / "contract.json").write_text("{")
    file.write_text(DECISION)
    shown = run("check", file).stdout.decode()
    assert shown.startswith(f"{file}:6:15: contract ") and shown.count("contract.json") == 1


def test_classes_are_the_models_not_those_of_actions(run, config):
    """classifier_int has no metadata; its graph says 10, 20, 30."""
    text = DECISION.replace("model: classifier", "model: classifier_int").replace("up,", "up: 0,")
    text = text.replace("[up: 0, down]", "[{up: 0}, {down: 0}]")
    assert run("check", config(text.replace("{rise: buy, fall: sell, stay: hold}", "{30: a, 10: b, 20: c}"),
                               "classifier_int")).returncode == 0
    done = run("check", config(text.replace("{rise: buy, fall: sell, stay: hold}", "{30: a, 10: b, 2: c}"),
                               "classifier_int"))
    shown = done.stdout.decode()
    assert done.returncode == 3 and "no class '2'; did you mean '20'?" in shown
    assert "a class '20' without an action" in shown
    named = text + "    classes: [rise, fall, stay]\n"
    assert run("check", config(named, "classifier_int")).returncode == 0
    done = run("check", config(named.replace(", stay]\n", "]\n"), "classifier_int"))
    assert done.returncode == 3 and b"2 are named by classes" in done.stdout


def test_a_contract_that_is_no_schema(run, config):
    file = config(DECISION)
    (file.parent / "contract.json").write_text('{"type": 3}')
    done = run("check", file)
    assert done.returncode == 3 and b"contract.json" in done.stdout


def test_serve_shows_the_same_faults(run, config):
    file = config("thread: 3\ngzip_level: 1\n")
    done = run("serve", file)
    assert done.returncode == 3
    text = done.stderr.decode()
    assert "did you mean 'threads'?" in text and "belongs under http" in text


def test_environment_variables(run, config):
    import os
    file = config("threads: ${PACER_TEST_THREADS}\n")
    env = {key: value for key, value in os.environ.items() if key != "PACER_TEST_THREADS"}
    done = run("check", file, env=env)
    assert done.returncode == 3 and b"PACER_TEST_THREADS is not set" in done.stdout
    assert run("check", file, env={**env, "PACER_TEST_THREADS": "2"}).returncode == 0


def test_a_terminal_is_not_steered(run, config):
    done = run("check", config('"\\e]0;x\\a": 1\n'))
    assert done.returncode == 3 and b"\x1b" not in done.stdout and b"\x07" not in done.stdout
