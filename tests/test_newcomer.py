"""A newcomer's first hour, replayed in a fresh virtual environment as the pages say it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TITLED = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Shell = Callable[..., str]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a program of a virtual environment of its own, that sees the packages of this one and
    whose `pip` needs no network, in the folder of runs."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "runs").mkdir()
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = (folder / ".venv").glob("lib/*/site-packages")
    seen = [path for path in sys.path if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in seen]
    (packages / "these.pth").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: str, code: str = "") -> str:
        done = subprocess.run(
            [folder / ".venv" / "bin" / "python", *arguments],
            cwd=folder,
            env=environment,
            input=code or None,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.folder = folder  # type: ignore[attr-defined]
    return run


def folder(shell: Shell) -> Path:
    return shell.folder  # type: ignore[attr-defined, no-any-return]


def written(page: str, into: Path) -> str:
    """Write the files that a page shows; its text."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, content in TITLED.findall(text):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(content, encoding="utf-8")
    return text


def install(shell: Shell, source: Path) -> None:
    """As `pip install -e` does, without a network."""
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    shell("-m", "pip", "install", *offline, "--disable-pip-version-check", "-e", str(source))


def dcm(shell: Shell, *arguments: str) -> str:
    return shell("-m", "dcm", *arguments)


FEW = ["--limit", "2", "--no-track", "--json"]


def test_the_first_run_and_its_repetition(shell: Shell) -> None:
    told = json.loads(dcm(shell, "run", *FEW, "--out", "runs/first"))
    assert (told["finished"], told["certified_rate"], told["lanes"]) == (2, 1.0, 2)
    again = json.loads(dcm(shell, "run", "runs/first", "--no-track", "--json", "--seed", "1"))
    assert again["finished"] == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "pairs.csv",
            "\ufeffQuestion;Answer\r\nWas heißt Straße?;street\r\n2+2?;4\r\n".encode(),
        ),
        ("pairs.tsv", "question\tanswer\n2+2?\t4\nWhy?\tso\n".encode("utf-16")),
    ],
)
def test_files_that_people_have(shell: Shell, name: str, content: bytes) -> None:
    (folder(shell) / name).write_bytes(content)
    kind = name.rpartition(".")[2]
    path = ["--dataset", kind, "--set", f"dataset.path={name}"]
    out = f"runs/{kind}"
    told = json.loads(dcm(shell, "run", *path, *FEW, "--slots", "16", "--out", out))
    assert (told["finished"], told["certified_rate"]) == (2, 1.0)


def test_the_tutorials_plugin_beside_the_runs(shell: Shell) -> None:
    text = written("tutorial.md", folder(shell))
    install(shell, folder(shell) / "dcm-riddles")
    assert "all good" in dcm(shell, "check")
    told = json.loads(dcm(shell, "run", "--dataset", "riddles", *FEW, "--out", "runs/riddles"))
    assert told["certified_rate"] == 1.0
    # The page's own Python goes on working once the plugin is installed.
    last = CODE.findall(text)[-1]
    shell("-", code="import dcm\nNano = dcm.find('generator', 'nano')\n" + last)


def test_the_plugin_tutorial(shell: Shell) -> None:
    source = folder(shell) / "months"
    text = written("plugins/tutorial.md", source)
    install(shell, source)
    assert "months" in dcm(shell, "list", "datasets")
    chosen = ["--dataset", "months", "--objective", "both-ways", "--set", "objective.weight=0.5"]
    assert json.loads(dcm(shell, "run", *chosen, *FEW, "--slots", "16"))["finished"] == 2
    program = "import os\nos.chdir('months')\n" + "".join(CODE.findall(text))
    shell("-", code=program)
    shell("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "months/tests")
