"""What `dcm.open` gives: a mapping of ids to items, cheap until a content is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dcm
from dcm.running.run_directory import RESULTS

Pairs = dict[str, tuple[str, str]]


def test_a_run_is_a_mapping_of_ids_to_items(memory: dcm.Memory, pairs: Pairs) -> None:
    assert set(memory) == set(pairs)
    assert len(memory) == len(pairs)
    assert "paris" in memory
    assert "rome" not in memory
    with pytest.raises(KeyError):
        memory["rome"]
    item = memory["a/b é"]
    assert (item.texts["question"], item.texts["answer"]) == pairs["a/b é"]
    assert item.certified
    assert item.line["losses"]["answer"] >= 0


def test_an_item_has_its_content(memory: dcm.Memory, nano: dcm.Generator) -> None:
    item = memory["paris"]
    assert item.content.shape == (4, nano.width)
    assert item.content.dtype == torch.float32
    assert item.slots == 4
    assert item.bytes == 4 * nano.width * 4


def test_texts_and_figures_are_read_without_torch(made: Path) -> None:
    code = (
        f"import sys, dcm; memory = dcm.open({str(made)!r}); item = memory['paris'];"
        "assert item.texts['answer'] == 'Paris' and len(list(memory)) == 6;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_index_is_kept_and_serves_again(run: Path, pairs: Pairs) -> None:
    dcm.open(run)
    (kept,) = (run / "memory").glob("*.safetensors")
    before = kept.stat().st_mtime_ns
    assert set(dcm.open(run)) == set(pairs)
    assert kept.stat().st_mtime_ns == before


def test_lines_that_came_later_are_found(run: Path, pairs: Pairs) -> None:
    lines = (run / RESULTS).read_text(encoding="utf-8").splitlines(keepends=True)
    (run / RESULTS).write_text("".join(lines[:2]), encoding="utf-8")
    assert len(dcm.open(run)) == 2
    with (run / RESULTS).open("a", encoding="utf-8") as file:
        file.write("".join(lines[2:]))
    memory = dcm.open(run)
    assert set(memory) == set(pairs)
    assert memory.shortlist("Hamlet", 1)[0][0] in memory.places


def test_a_line_that_is_still_being_written_is_none(run: Path, pairs: Pairs) -> None:
    with (run / RESULTS).open("a", encoding="utf-8") as file:
        file.write('{"id": "half')
    assert set(dcm.open(run)) == set(pairs)


@pytest.mark.parametrize("damage", ["other results", "torn index", "no index"])
def test_an_index_that_does_not_fit_is_made_again(run: Path, damage: str, pairs: Pairs) -> None:
    dcm.open(run)
    (kept,) = (run / "memory").glob("*.safetensors")
    wanted = set(pairs)
    if damage == "other results":
        lines = (run / RESULTS).read_text(encoding="utf-8").splitlines(keepends=True)
        (run / RESULTS).write_text("".join(reversed(lines[1:])), encoding="utf-8")
        wanted = {json.loads(line)["id"] for line in lines[1:]}
    elif damage == "torn index":
        kept.write_bytes(kept.read_bytes()[:100])
    else:
        kept.unlink()
    memory = dcm.open(run)
    assert set(memory) == wanted
    assert all(memory[each].texts["answer"] == pairs[each][1] for each in wanted)


def test_many_small_additions_stay_one_memory(run: Path, pairs: Pairs) -> None:
    line = json.loads((run / RESULTS).read_text(encoding="utf-8").splitlines()[0])
    for number in range(20):
        with (run / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "id": f"copy-{number}"}) + "\n")
        memory = dcm.open(run)
        assert len(memory) == len(pairs) + number + 1
    assert f"copy-{number}" in memory
    assert len(list((run / "memory").glob("*.safetensors"))) <= 16


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_that_cannot_be_written_to_can_be_read(run: Path, pairs: Pairs) -> None:
    run.chmod(0o555)
    try:
        assert set(dcm.open(run)) == set(pairs)
    finally:
        run.chmod(0o755)


def test_several_runs_are_one_memory(
    made: Path, run: Path, nano: dcm.Generator, pairs: Pairs
) -> None:
    lines = (run / RESULTS).read_text(encoding="utf-8")
    (run / RESULTS).write_text(lines.replace('"id": "', '"id": "other-'), encoding="utf-8")
    memory = dcm.open(made, run, generator=nano)
    assert len(memory) == 2 * len(pairs)
    assert memory.generate(["paris", "other-moon"]) == ["Paris", "384,000 kilometres"]


def test_runs_that_share_an_id_are_refused(made: Path, run: Path) -> None:
    with pytest.raises(dcm.RunDirectoryError, match="both have an item"):
        dcm.open(made, run)


def test_runs_of_different_models_are_refused(made: Path, run: Path) -> None:
    other = json.loads((run / "experiment.json").read_text(encoding="utf-8"))
    other["generator"] = {"kind": "generator", "name": "transformers", "params": {"model": "gpt2"}}
    (run / "experiment.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(dcm.RunDirectoryError, match=r"different models.*gpt2"):
        dcm.open(made, run)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda run: (run / RESULTS).unlink(), r"no results\.jsonl"),
        (
            lambda run: (run / RESULTS).write_text("no JSON\n"),
            r"results\.jsonl:1: the line is no result",
        ),
        (
            lambda run: edit(run / RESULTS, question=7),
            r"results\.jsonl:1: .*'question' is not a text",
        ),
        (lambda run: (run / RESULTS).write_text("[" * 9999 + "\n"), r"results\.jsonl:1: "),
        (lambda run: (run / "memory" / "removed.json").write_text("[1]"), r"removed\.json"),
        (lambda run: (run / "experiment.json").write_text("["), r"experiment\.json:1"),
        (lambda run: (run / "experiment.json").write_text("{}"), r"experiment\.json"),
    ],
)
def test_what_is_no_memory_says_why(run: Path, damage, told: str) -> None:
    damage(run)
    with pytest.raises(dcm.RunDirectoryError, match=told):
        dcm.open(run)


def edit(results: Path, **fields) -> None:
    """Give the first line other fields."""
    first, *others = results.read_text(encoding="utf-8").splitlines(keepends=True)
    line = json.dumps({**json.loads(first), **fields})
    results.write_text("\n".join([line, *others]), encoding="utf-8")


@pytest.mark.parametrize("what", ["content/paris", "mode/answer"])
def test_a_content_that_is_not_what_was_written_is_not_read(
    run: Path, nano: dcm.Generator, what: str
) -> None:
    shard = run / dcm.open(run, generator=nano)["paris"].line["content"]["file"]
    data = bytearray(shard.read_bytes())
    size = int.from_bytes(data[:8], "little")
    data[8 + size + json.loads(data[8 : 8 + size])[what]["data_offsets"][0]] ^= 1
    shard.write_bytes(data)
    told = rf"content/\d+\.safetensors has no readable '{what}'. Its bytes are not those"
    with pytest.raises(dcm.RunDirectoryError, match=told):
        dcm.open(run, generator=nano)["paris"].generate()


def test_a_damaged_index_is_made_again(run: Path, nano: dcm.Generator) -> None:
    before = dcm.open(run, generator=nano)
    found = before.shortlist("the capital", None)
    (index,) = (run / "memory").glob("*.safetensors")
    sound = index.read_bytes()
    for place in (3, 200, len(sound) // 2, len(sound) - 5):
        index.write_bytes(sound[:place] + bytes([sound[place] ^ 255]) + sound[place + 1 :])
        again = dcm.open(run, generator=nano)
        assert list(again) == list(before)
        assert again.shortlist("the capital", None) == found


def test_a_shard_that_is_gone_says_which(run: Path, nano: dcm.Generator) -> None:
    memory = dcm.open(run, generator=nano)
    for shard in (run / "content").iterdir():
        shard.unlink()
    assert memory["paris"].texts["answer"] == "Paris"
    with pytest.raises(dcm.RunDirectoryError, match=r"content/\d+\.safetensors cannot be read"):
        memory["paris"].content  # noqa: B018


def test_no_run_is_a_usage_error() -> None:
    with pytest.raises(dcm.UsageError, match="no run was named"):
        dcm.open()
