"""Nobody's code runs unasked, and nobody's password is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dcm
from dcm import Experiment, UsageError, mask_secrets
from dcm.cli.app import app
from dcm.cli.reporting import reporting

FORM = {
    "generator": {
        "kind": "generator",
        "name": "transformers",
        "params": {"model": "/nowhere", "trust_remote_code": True},
    }
}


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stderr


def test_a_file_cannot_ask_to_run_code(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("somebodys.json").write_text(json.dumps(FORM))
    Path("run").mkdir()
    Path("run/experiment.json").write_text(json.dumps(FORM))
    for asked in (["somebodys.json"], ["--out", "run", "--resume"]):
        status, told = command("run", "--no-track", *asked)
        assert status == 2
        assert "asks to run Python code" in told
        assert "--set generator.trust_remote_code=true" in told
    status, told = command("verify", "run", "--certify")
    assert (status, "asks to run Python code" in told) == (2, True)
    # Said on this command line, it is the user's own wish.
    allow = ["--set", "generator.trust_remote_code=true"]
    status, told = command("run", "--no-track", "somebodys.json", *allow)
    assert "no such folder" in told
    assert not Path("runs").exists()


def test_a_call_says_it_by_itself() -> None:
    with pytest.raises(UsageError, match=r"generator\.trust_remote_code = True"):
        Experiment.build(FORM)
    assert Experiment.build(FORM, trust_remote_code=True).generator.trust_remote_code


@pytest.mark.parametrize("value", [1, "true", "false", [True], {"a": 1}])
def test_whatever_is_not_false_is_asking(value) -> None:
    params = {"model": "/nowhere", "trust_remote_code": value}
    nested = {"evaluators": [{"kind": "evaluator", "name": "x", "params": params}]}
    with pytest.raises(UsageError, match=r"evaluators\.0\.trust_remote_code"):
        Experiment.build(nested)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host:5000/x", "http://user:***@host:5000/x"),
        ("http://user:se@cr/et@host", "http://user:***@host"),
        ("http://:secret@host", "http://:***@host"),
        ("ftp:/user:secret", "ftp:/user:***"),
        ("ftp:/user:secret@host", "ftp:/user:***@host"),
        ("postgresql+psycopg2://a:secret@c/d", "postgresql+psycopg2://a:***@c/d"),
        ("https://host/x?token=secret&y=1", "https://host/x?token=***&y=1"),
        ("--set 'tracker.uri=http://a:secret@b'", "--set 'tracker.uri=http://a:***@b'"),
        ("http://host:5000: refused", "http://host:5000: refused"),
        ("open http://127.0.0.1:8080.", "open http://127.0.0.1:8080."),
        ("sqlite:////data/all.db", "sqlite:////data/all.db"),
        ("at 12:30, mail a@b", "at 12:30, mail a@b"),
    ],
)
def test_passwords_are_hidden_and_the_rest_is_not(text: str, shown: str) -> None:
    assert mask_secrets(text) == shown
    assert mask_secrets({"a": [text, 1, None]}) == {"a": [shown, 1, None]}


def test_an_error_and_its_traceback_show_no_password(capsys) -> None:
    with pytest.raises(BaseException, match="1"), reporting(debug=True):
        raise dcm.DcmError("http://user:secret@host cannot be reached")
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "secret" not in told


def test_a_run_does_not_write_a_password_down(experiment, tmp_path) -> None:
    import attrs

    hidden = attrs.evolve(experiment, generator=experiment.generator)
    object.__setattr__(hidden.generator, "poison", "http://user:secret@host")
    hidden.run(tmp_path / "run")
    assert "secret" not in (tmp_path / "run" / "experiment.json").read_text()
    assert hidden.run(tmp_path / "run", resume=True)["finished"] == 6


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["--dataset", "csv", "--set", f"dataset.limit={2**70}"], "limit"),
        (["--set", "criterion.margin=x"], "margin"),
        (["--set", f"max_steps={2**70}"], "from 1 to 10,000,000"),
    ],
)
def test_wrong_values_are_named(tmp_path, monkeypatch, settings, told) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("question,answer\nq,a\n")
    path = ["--set", "dataset.path=a.csv"] if "csv" in settings else []
    status, error = command("run", "--no-track", *settings, *path)
    assert status == 2
    assert told in error


def test_a_wrong_type_in_a_file_is_named() -> None:
    form = {"kind": "criterion", "name": "exact", "params": {"margin": "x"}}
    with pytest.raises(UsageError, match=r"'margin' is float \| None, not 'x'"):
        dcm.build(form)


def test_a_component_in_the_place_of_a_value_is_told(tmp_path) -> None:
    form = {"slots": {"kind": "dataset", "name": "samples", "params": "x"}}
    (tmp_path / "experiment.json").write_text(json.dumps(form))
    told = CliRunner().invoke(app, ["run", str(tmp_path / "experiment.json"), "--no-track"])
    assert told.exit_code == 2
    assert "'params' of a component is an object. It is 'x'" in told.stderr


def test_a_model_that_cannot_be_loaded_is_told_in_words_of_ours(tmp_path) -> None:
    import torch

    from dcm.testing.doubles import save_tiny_model

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "it ran",))

    shapes, pickled = (save_tiny_model(tmp_path / name) for name in ("shapes", "pickled"))
    config = json.loads((shapes / "config.json").read_text())
    (shapes / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    (pickled / "model.safetensors").unlink()
    torch.save({"a": Evil()}, pickled / "pytorch_model.bin")
    for folder, told in ((shapes, "other shapes than its config"), (pickled, "not opened. Have")):
        with pytest.raises(dcm.GeneratorError) as caught:
            dcm.find("generator", "transformers")(model=str(folder), device="cpu").load()
        assert told in str(caught.value)
        assert "above" not in str(caught.value)
        assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "it ran").exists()
