"""A damaged run directory: what is sound is kept, what is not is done again, and both are told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest

import dcm
from dcm import DcmError, RunDirectoryError
from dcm.running.run_directory import RunDirectory
from dcm.running.verify import verify


def results(folder: Path) -> list[str]:
    return (folder / "results.jsonl").read_text().splitlines(keepends=True)


def write(folder: Path, lines: list[str]) -> None:
    (folder / "results.jsonl").write_text("".join(lines))


def edit(folder: Path, **fields: object) -> None:
    """Give the first line other fields."""
    first, *others = results(folder)
    write(folder, [json.dumps({**json.loads(first), **fields}) + "\n", *others])


def first_shard(folder: Path) -> Path:
    return min((folder / "content").iterdir())


def flip(folder: Path, place: int = -9) -> None:
    data = bytearray(first_shard(folder).read_bytes())
    data[place] ^= 1
    first_shard(folder).write_bytes(data)


def cut(folder: Path) -> None:
    os.truncate(first_shard(folder), first_shard(folder).stat().st_size - 8)


def flip_content(folder: Path) -> None:
    """The first number behind the header is a content's: those stand before the modes."""
    data = first_shard(folder).read_bytes()
    flip(folder, 8 + int.from_bytes(data[:8], "little"))


DAMAGE = {
    "a line cut short": lambda run: write(
        run, [line[:60] + "\n" if n == 2 else line for n, line in enumerate(results(run))]
    ),
    "two lines run into one": lambda run: write(
        run, [line[:60] if n == 2 else line for n, line in enumerate(results(run))]
    ),
    "a line of zeros": lambda run: write(run, [*results(run)[:3], "\0" * 99 + "\n"]),
    "zeros at the end": lambda run: write(run, [*results(run)[:3], "\0" * 99]),
    "a torn line": lambda run: write(run, [*results(run)[:3], results(run)[3][:70]]),
    "null": lambda run: write(run, ["null\n"]),
    "a list": lambda run: write(run, ["[1]\n"]),
    "a number that no float can hold": lambda run: edit(run, row_steps=10**400),
    "an interference that is none": lambda run: edit(run, interference={"a": 1}),
    "an object without an id": lambda run: write(run, ['{"a": 1}\n']),
    "a line twice": lambda run: write(run, [*results(run), results(run)[0]]),
    "a line twice and others missing": lambda run: write(run, [*results(run)[:3], results(run)[0]]),
    "no lines": lambda run: (run / "results.jsonl").unlink(),
    "a mode vector's bit": flip,
    "a content's bit": flip_content,
    "a shard cut short": cut,
    "a shard missing": lambda run: first_shard(run).unlink(),
    "a stray file": lambda run: (run / "content" / "notes.safetensors").write_text("x"),
    "a broken summary": lambda run: (run / "summary.json").write_text("{"),
    "broken curves": lambda run: (run / "curves.parquet").write_bytes(b"xxxx"),
    "no curves": lambda run: (run / "curves.parquet").unlink(),
    "broken sessions": lambda run: (run / "sessions.json").write_text('{"next_shard": {}}'),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("finished", [True, False])
def test_what_is_damaged_is_done_again(experiment, run, damaged, read_run, name, finished) -> None:
    whole = read_run(run)
    folder = damaged(DAMAGE[name], keep_summary=finished)
    told: list[str] = []
    summary = experiment.run(folder, resume=True, warn=told.append)
    assert (summary["finished"], summary["certified_rate"]) == (6, 1.0)
    assert read_run(folder) == whole
    assert verify(folder).problems == []
    harmless = ("a torn line", "zeros at the end", "no lines", "no curves", "a stray file")
    quiet = (*harmless, "a broken summary", "broken sessions")
    assert bool(told) == (name not in quiet)
    assert all("results.jsonl:" in line or "curves" in line or "in all" in line for line in told)


def test_what_is_put_aside_is_not_thrown_away(experiment, damaged) -> None:
    folder = damaged(DAMAGE["a line cut short"])
    bad = results(folder)[2]
    experiment.run(folder, resume=True)
    assert (folder / "damaged.jsonl").read_text() == bad


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a line cut short", "results.jsonl:3: it is no JSON"),
        ("null", "results.jsonl:1: it is no JSON object"),
        ("a line twice", "results.jsonl:7: example '"),
        ("a content's bit", "results.jsonl:1: Its bytes in content/00000.safetensors are not"),
        ("a mode vector's bit", "results.jsonl:1: The bytes of 'mode/answer' in content/00000"),
        ("a shard missing", "results.jsonl:1: content/00000.safetensors is missing"),
        ("broken curves", "curves.parquet cannot be read"),
    ],
)
def test_verify_names_file_and_line_and_changes_nothing(damaged, name, told) -> None:
    folder = damaged(DAMAGE[name])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(told in problem for problem in verify(folder).problems), verify(folder).problems
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_reading_a_damaged_line_names_file_and_line(damaged) -> None:
    folder = damaged(DAMAGE["a line cut short"])
    with pytest.raises(RunDirectoryError, match=r"results\.jsonl:3: the line is damaged.*--resume"):
        list(RunDirectory.open(folder).results())


def test_a_line_of_an_example_that_is_not_there_is_put_aside(experiment, damaged) -> None:
    other = json.loads('{"id": "99"}')

    def add(folder: Path) -> None:
        line = json.loads(results(folder)[0]) | other
        write(folder, [*results(folder), json.dumps(line) + "\n"])

    told: list[str] = []
    summary = experiment.run(damaged(add), resume=True, warn=told.append)
    assert summary["finished"] == 6
    assert told == ["Damaged and put aside: results.jsonl:7: example '99' is none of the data set"]


def test_the_name_of_a_lost_shard_is_not_used_again(experiment, damaged) -> None:
    folder = damaged(lambda run: [path.unlink() for path in (run / "content").iterdir()])
    before = {json.loads(line)["content"]["file"] for line in results(folder)}
    experiment.run(folder, resume=True)
    assert not before & {json.loads(line)["content"]["file"] for line in results(folder)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"experiment\.json:1: the file is damaged.*no JSON"),
        ("[]", "no JSON object"),
        ('{"slots": 2,\n', r"experiment\.json:2"),
        ("[" * 5000, "no JSON"),
    ],
)
def test_a_broken_description_is_refused(experiment, damaged, text, told) -> None:
    folder = damaged(lambda run: (run / "experiment.json").write_text(text))
    with pytest.raises(RunDirectoryError, match=told):
        experiment.run(folder, resume=True)
    assert any("experiment.json" in problem for problem in verify(folder).problems)


@pytest.mark.parametrize(("field", "value"), [("slots", 3), ("seed", 7)])
def test_an_edited_description_is_refused_and_the_field_named(
    experiment, damaged, field, value
) -> None:
    def edit(folder: Path) -> None:
        found = json.loads((folder / "experiment.json").read_text())
        (folder / "experiment.json").write_text(json.dumps({**found, field: value}))

    folder = damaged(edit)
    for asked in (experiment, attrs.evolve(experiment, **{field: value})):
        with pytest.raises(RunDirectoryError, match=f"changed after the run began.*{field}"):
            asked.run(folder, resume=True)


@pytest.mark.parametrize("finished", [True, False])
def test_other_examples_under_the_same_path_are_refused(
    experiment, damaged, pairs, finished
) -> None:
    folder = damaged(lambda run: None, keep_summary=finished)
    pairs.write_text(pairs.read_text().replace("What is 3?", "What is three?"))
    fresh = attrs.evolve(experiment, dataset=dcm.find("dataset", "csv")(path=str(pairs)))
    with pytest.raises(RunDirectoryError, match=r"other examples.*results\.jsonl:\d: example '"):
        fresh.run(folder, resume=True)
    pairs.write_text(pairs.read_text() + "More?,9.5\n")
    fresh = attrs.evolve(experiment, dataset=dcm.find("dataset", "csv")(path=str(pairs)))
    with pytest.raises(RunDirectoryError, match="It had 6 examples, now there are 7"):
        fresh.run(folder, resume=True)


def test_data_that_moved_are_the_same_and_are_found_there(experiment, damaged, pairs) -> None:
    folder = damaged(lambda run: write(run, results(run)[:3]))
    moved = pairs.with_name("moved.csv")
    pairs.rename(moved)
    there = attrs.evolve(experiment, dataset=dcm.find("dataset", "csv")(path=str(moved)))
    assert there.run(folder, resume=True)["finished"] == 6
    description = json.loads((folder / "experiment.json").read_text())
    assert description["dataset"]["params"]["path"] == str(moved)


def test_a_relative_path_means_the_same_in_another_folder(
    experiment, pairs, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(pairs.parent)
    near = attrs.evolve(experiment, dataset=dcm.find("dataset", "csv")(path=pairs.name))
    near.run(tmp_path / "near")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    description = json.loads((tmp_path / "near" / "experiment.json").read_text())
    again = dcm.Experiment.build(description)
    assert again.run(tmp_path / "near", resume=True)["finished"] == 6


def test_other_weights_under_the_same_name_are_refused(experiment, damaged, monkeypatch) -> None:
    folder = damaged(lambda run: None)
    monkeypatch.setattr(type(experiment.generator), "fingerprint", "others")
    with pytest.raises(RunDirectoryError, match=r"another model.*weights or the tokenizer"):
        experiment.run(folder, resume=True)


def test_a_run_killed_before_it_began_begins(experiment, tmp_path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "experiment.json.tmp").write_text('{"slots"')
    (folder / "run.lock").touch()
    with pytest.raises(RunDirectoryError, match=r"ended before it began.*without --resume"):
        experiment.run(folder, resume=True)
    assert experiment.run(folder)["finished"] == 6


def test_wall_time_is_that_of_all_sessions(experiment, damaged) -> None:
    def long_ago(folder: Path) -> None:
        found = json.loads((folder / "sessions.json").read_text())
        found["sessions"][0]["seconds"] = 1000.0
        (folder / "sessions.json").write_text(json.dumps(found))
        write(folder, results(folder)[:3])

    assert experiment.run(damaged(long_ago), resume=True)["wall_seconds"] > 1000


def test_pipes_in_place_of_files_are_refused(experiment, damaged) -> None:
    def pipe(folder: Path) -> None:
        (folder / "results.jsonl").unlink()
        os.mkfifo(folder / "results.jsonl")

    folder = damaged(pipe)
    with pytest.raises(DcmError, match=r"results\.jsonl cannot be read.*pipe"):
        experiment.run(folder, resume=True)


def test_contents_may_be_read_by_whoever_may_read_the_results(run) -> None:
    assert first_shard(run).stat().st_mode == (run / "results.jsonl").stat().st_mode
