"""The documentation runs: Python blocks are executed, `dcm` commands are parsed."""

from __future__ import annotations

import ast
import io
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import attrs
import pytest
import typer
from rich.console import Console
from typer.core import TyperGroup

import dcm
from dcm.cli.app import app
from dcm.cli.tables import closing_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DISTRIBUTION = "dynamic-context-memory"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, the name of the file it stands for, its text and line."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(found[1], found[2] or "", found[3], line)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Place and arguments of every `dcm` command in the pages."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "sh":
                text = block.text.replace("\\\n", " ")  # lines that go on are one
                for number, line in enumerate(text.splitlines(), block.line):
                    words = shlex.split(line, comments=True)
                    for place, word in enumerate(words):
                        if Path(word).name == "dcm":
                            yield f"{page.relative_to(ROOT)}:{number}", words[place + 1 :]


def with_python(page: Path) -> bool:
    return any(block.language == "python" for block in blocks(page))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if with_python(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python_blocks_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    names: dict[str, object] = {"__name__": "page"}
    try:
        for block in blocks(page):
            if block.title:
                file = tmp_path / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                # Blank lines in front, so that a traceback gives the page's line.
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, str(page), "exec"), names)  # noqa: S102 - our own pages
    finally:
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
                del sys.modules[name]


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=f"{place}:{words[0]}") for place, words in commands()]
)
def test_commands_are_understood(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    with group.make_context("dcm", words[:1]) as context:
        name, command, _ = group.resolve_command(context, words[:1])
        assert command is not None, words
        command.make_context(name, words[1:], parent=context).close()


def test_commands_name_components_and_fields_that_exist() -> None:
    for place, words in commands():
        chosen = {"generator": "nano", "dataset": "samples", "objective": "joint"}
        chosen |= {"optimizer": "restarts", "criterion": "exact", "tracker": "mlflow"}
        for option, value in pairwise(words):
            kind = option.removeprefix("--")
            if kind in chosen:
                chosen[kind] = value
        for option, value in pairwise(words):
            if option == "--set":
                kind, dot, rest = value.partition("=")[0].partition(".")
                cls = dcm.find(kind, chosen[kind]) if dot else dcm.Experiment
                field = (rest if dot else kind).partition(".")[0]
                known = {each.alias for each in attrs.fields(cls)}
                assert field in known, f"{place}: {value}"
        if words[:1] == ["show"]:
            *kind, name = words[1:3]
            known = dcm.Plugins.installed().all(*kind)
            assert name in {text for each in known for text in (each.name, each.full_name)}, place


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "first-hour.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": "notebook"}
    cells = ["".join(each["source"]) for each in notebook["cells"] if each["cell_type"] == "code"]
    assert cells
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), names)  # noqa: S102 - our own


def test_the_site_and_the_citation_name_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"copyright: dcm {project['version']}," in (ROOT / "mkdocs.yml").read_text()
    assert f"version: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_component_has_its_name_import_and_defaults_on_the_site(script) -> None:
    hooks = script("docs/hooks.py")
    source = "reference/components.md"
    page = SimpleNamespace(file=SimpleNamespace(src_uri=source))
    shown = hooks.on_page_markdown((ROOT / "docs" / source).read_text(), page)
    for each in dcm.Plugins.installed().all():
        if each.distribution == DISTRIBUTION:
            module, _, cls = each.component.target.partition(":")
            assert f"`{each.name}` · `from {module} import {cls}`" in shown
    assert "| `betas` | tuple[float, ...] | `[0.7, 0.9]` |" in shown
    assert "| `path` | str | required |" in shown
    assert (
        hooks.on_page_content('<code class="a--b">run --out x</code> --y')
        == '<code class="a--b">run <span class="option">--out</span> x</code> --y'
    )


def test_readme_and_tutorial_show_the_same_output_with_the_rows_of_the_closing_table() -> None:
    pages = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")
    shown = [
        re.search(r"^```text\n(examples .*?)^```$", page.read_text(), re.M | re.S)[1]
        for page in pages
    ]  # type: ignore[index]
    readme, tutorial = (re.sub(r"^run .*\n", "", text, flags=re.M) for text in shown)
    assert readme == tutorial
    summary = {"skipped": {}, "failed_reasons": {}, "status_counts": {"CONVERGED": 160}}
    summary |= dict.fromkeys(("examples", "finished"), 160)
    summary |= dict.fromkeys(("converged_rate", "exact_rate", "certified_rate"), 1.0)
    summary |= {"median_steps": 6, "p90_steps": 8, "row_steps": 1000, "useful_row_steps": 1000}
    rates = {"pass_rate": 1.0, "partial_rate": 0.0, "fail_rate": 0.0}
    summary["evaluations"] = {"greedy-decode": rates, "task": {"exact_match": 1.0, "f1": 1.0}}
    summary |= {"row_steps_per_second": 61.0, "wall_seconds": 17.0, "device": "cpu"}
    summary |= {"dtype": "float32", "lanes": 96, "peak_memory_bytes": int(1.7 * 2**30)}
    text = io.StringIO()
    Console(file=text, width=80).print(closing_table(summary, "runs/first"))
    printed = [line.rstrip() for line in text.getvalue().splitlines()]
    assert printed == shown[1].splitlines()[:-1]


def test_contracts_cover_every_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    linter = project["tool"]["importlinter"]
    contracts = {each["name"]: each for each in linter["contracts"]}
    assert set(project["project"]["entry-points"]["dcm"].values()) == packages
    assert set(linter["root_packages"]) == packages | {"dcm"}
    assert set(contracts["the core imports no plugin"]["forbidden_modules"]) == packages
    assert set(contracts["no plugin imports another"]["modules"]) == packages
    public = contracts["a plugin imports public modules of the core alone"]
    assert set(public["source_modules"]) == packages
    mlflow = contracts["mlflow is imported in one module"]
    assert set(mlflow["source_modules"]) == packages | {"dcm"}


def test_the_readme_is_read_in_two_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    words = [word for word in FENCE.sub("", text).split() if re.search(r"\w", word)]
    assert len(words) <= 700


def strings(tree: ast.AST) -> Iterator[str]:
    """What a module says: its texts, with a gap where something is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = [
                each.value if isinstance(each, ast.Constant) else "..." for each in node.values
            ]
            yield "".join(map(str, fixed))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_that_troubleshooting_quotes_are_those_of_the_code() -> None:
    sources = [path for room in ("src", "plugins") for path in (ROOT / room).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    texts = {text for tree in trees for text in strings(tree)}
    said = "\n".join(texts | {"must be in"})  # the last is attrs' own
    filled = [re.escape(text).replace(r"\.\.\.", ".+") for text in texts if "..." in text]
    patterns = re.compile("|".join(each for each in filled if len(each.split()) > 3))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| message \|.*?\n\n", page + "\n\n", re.MULTILINE | re.DOTALL)
    messages = [
        message
        for table in tables
        for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE)
        for message in re.findall(r"`([^`]*)`", row)
    ]
    assert len(messages) > 50
    for quoted in messages:
        message = quoted.replace("'...'", "'x'")
        for sentence in re.split(r"\.\.\.|[.;:] ", message):  # which are put together
            parts = re.split(r"'[^']*'|\d+|runs/\w+|[.:;,()]", sentence)
            known = all(part.strip() in said for part in parts if len(part.split()) > 2)
            known = known or any(map(patterns.search, (sentence, message)))
            assert known, f"{message}: {sentence}"


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")
    )
    named = set(re.findall(r"^(?:::: |`)dcm\.(?:\w+\.)*(\w+)`?$", pages, re.MULTILINE))
    assert set(dcm.__all__) - {"__version__"} <= named


def test_every_bundled_component_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "components.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: ([\w.]+)", page, re.MULTILINE))
    names = {name.rpartition(".")[2] for name in shown}
    own = [each for each in dcm.Plugins.installed().all() if each.distribution == DISTRIBUTION]
    assert {each.component.target.rpartition(":")[2] for each in own} <= names
