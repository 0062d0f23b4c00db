"""`dcm list`, `dcm show`, `dcm --version` and `--help`."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import dcm
from dcm import Component, Plugins

SLOW = ("torch", "transformers", "datasets", "mlflow", "numpy", "pyarrow")


def test_list_shows_every_component_by_kind(command, plugins: Plugins) -> None:
    done = command("list")
    assert done.exit_code == 0
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert all(len(line) <= 80 for line in lines)
    shown, kind = [], ""
    for line in lines:
        if line and not line.startswith(" "):
            kind = line
        elif line[2] != " ":
            shown.append((kind, line.split()[0]))
    assert shown == [(each.kind, each.name) for each in plugins.all()]


def test_list_names_the_distribution_of_others_only(command) -> None:
    lines = command("list", "generator").stdout.splitlines()
    (tiny,) = [line for line in lines if line.startswith("  tiny")]
    assert tiny.split(maxsplit=1)[1].strip() == "a tiny random model (doubles)"
    assert "(dynamic-context-memory)" not in "".join(lines)


def test_list_one_kind(command) -> None:
    done = command("list", "dataset")
    assert "squad" in done.stdout
    assert "restarts" not in done.stdout
    listed = json.loads(command("list", "dataset", "--json").stdout)["components"]
    assert {each["kind"] for each in listed} == {"dataset"}
    (toy,) = [each for each in listed if each["name"] == "toy"]
    assert toy == {
        "kind": "dataset",
        "name": "toy",
        "summary": "a toy task",
        "distribution": "doubles",
        "version": "1.0",
    }


def test_list_tells_of_broken_plugins(command, plugins: Plugins) -> None:
    class Misspelt:
        @dcm.hookimpl
        def dcm_dataset(self):
            return []

    plugins.add(Misspelt(), "theirs", name="sets")
    done = command("list", "dataset")
    assert done.exit_code == 0
    (problem,) = [line for line in done.stdout.splitlines() if line.startswith("Problem: ")]
    assert problem.startswith("Problem: sets of theirs: unknown hook dcm_dataset")
    assert "dcm check" in problem
    assert "squad" in done.stdout
    (listed,) = json.loads(command("list", "--json").stdout)["problems"]
    assert (listed["distribution"], listed["plugin"]) == ("theirs", "sets")


def test_an_unknown_kind_is_bad_usage(command) -> None:
    done = command("list", "dateset")
    assert done.exit_code == 2
    assert "unknown kind 'dateset'" in done.stderr
    assert "dataset" in done.stderr


def test_show_tells_fields_defaults_and_meanings(command) -> None:
    done = command("show", "dataset", "squad")
    assert done.exit_code == 0
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "dataset squad"
    assert all(len(line) <= 80 for line in lines)
    assert re.search(r"^limit +int \| None +none +\w", done.stdout, re.M)
    assert re.search(r"^split +str +validation +\w", done.stdout, re.M)
    assert re.search(r"^on_error +stop \| skip +stop +\S", done.stdout, re.M)
    assert "Attributes:" not in done.stdout
    assert "dcm_squad.squad:Squad of dynamic-context-memory" in done.stdout
    assert lines[-1] == "Example  dcm run --dataset squad --set dataset.path=VALUE"


@pytest.mark.parametrize(
    ("kind", "name", "example"),
    [
        ("dataset", "jsonl", "--dataset jsonl --set dataset.path=VALUE"),
        ("dataset", "shuffled", "--dataset shuffled --set dataset.dataset=NAME"),
        ("optimizer", "restarts", "--optimizer restarts --set optimizer.inner=adam"),
        (
            "evaluator",
            "greedy-decode",
            "--evaluator greedy-decode --set evaluators.0.partial=0.5",
        ),
        ("criterion", "any-of", "--criterion any-of --set criterion.criteria='[\"NAME\"]'"),
        ("tracker", "mlflow", "--set tracker=mlflow --set tracker.uri=VALUE"),
    ],
)
def test_show_gives_an_example(command, kind: str, name: str, example: str) -> None:
    assert command("show", kind, name).stdout.splitlines()[-1] == f"Example  dcm run {example}"


def test_show_as_json(command) -> None:
    shown = json.loads(command("show", "optimizer", "restarts", "--json").stdout)
    assert (shown["kind"], shown["name"]) == ("optimizer", "restarts")
    fields = {each["name"]: each for each in shown["fields"]}
    assert fields["count"] == {
        "name": "count",
        "type": "int",
        "required": False,
        "meaning": fields["count"]["meaning"],
        "default": 5,
    }
    assert fields["count"]["meaning"]
    assert fields["inner"]["default"]["name"] == "adam"
    jsonl = json.loads(command("show", "dataset", "jsonl", "--json").stdout)
    (path,) = [each for each in jsonl["fields"] if each["name"] == "path"]
    assert path["required"]
    assert "default" not in path


def test_every_component_can_be_shown(command, plugins: Plugins) -> None:
    for each in plugins.all():
        done = command("show", each.kind, each.name)
        assert done.exit_code == 0, done.stderr
        assert f"{each.kind} {each.name}" in done.stdout


def test_show_what_is_not_there(command) -> None:
    done = command("show", "dataset", "sqad")
    assert done.exit_code == 2
    assert done.stderr == "Error: there is no dataset 'sqad'. Did you mean 'squad'?\n"


def test_show_what_cannot_be_imported(command, plugins: Plugins) -> None:
    class Gone:
        @dcm.hookimpl
        def dcm_datasets(self):
            return [Component("gone", "dcm_no_such_module:Gone", "gone")]

    plugins.add(Gone(), "theirs")
    done = command("show", "dataset", "gone")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: dataset 'gone' of theirs cannot be loaded")
    assert len(done.stderr.splitlines()) == 1


def test_version(command) -> None:
    assert command("--version").stdout == f"dcm {dcm.__version__}\n"


@pytest.mark.parametrize("name", [(), ("run",), ("list",), ("show",), ("check",)])
def test_help_fits_and_shows_its_options(command, name: tuple[str, ...]) -> None:
    done = command(*name, "--help")
    assert done.exit_code == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "--install-completion" not in done.stdout


def test_help_of_run_names_defaults_and_examples(command) -> None:
    text = command("run", "--help").stdout
    for part in ("default nano", "default samples", "  dcm run --dataset squad --set ", "--resume"):
        assert part in text


@pytest.mark.parametrize(
    "code",
    [
        "import dcm",
        "from dcm.cli.app import app; app(['list'], standalone_mode=False)",
        "from dcm.cli.app import app; app(['run', '--help'], standalone_mode=False)",
    ],
)
def test_it_is_not_slowed_by_what_it_does_not_need(code: str) -> None:
    report = f"import sys; print([name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {report}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
