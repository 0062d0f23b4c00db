"""Adding, removing, merging, and contents in fewer bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dcm
from dcm.memory.contents import pack, unpack
from dcm.running.contents import Contents
from dcm.running.run_directory import RESULTS

Pairs = dict[str, tuple[str, str]]
NEW = dcm.Example("sky", "Which colour is the sky?", "blue")


def test_what_is_added_is_certified_and_there(memory: dcm.Memory, run: Path) -> None:
    added = memory.add([NEW])
    assert (added.items, added.certified, added.slots) == (1, 1, {4: 1})
    assert added.memory["sky"].certified
    assert dcm.open(run, generator=memory.generator).generate(["sky", "paris"]) == ["blue", "Paris"]
    assert added.memory.ask("which colour has the sky?").text == "blue"


def test_what_is_there_is_not_done_again(memory: dcm.Memory, run: Path, pairs: Pairs) -> None:
    before = (run / RESULTS).read_bytes()
    again = memory.add([dcm.Example("paris", *pairs["paris"])])
    assert again.items == 0
    assert (run / RESULTS).read_bytes() == before


def test_an_addition_that_was_cut_off_goes_on(memory: dcm.Memory, run: Path) -> None:
    others = [NEW, dcm.Example("grass", "Which colour is grass?", "green")]
    memory.add(others)
    lines = (run / RESULTS).read_bytes().splitlines(keepends=True)
    (run / RESULTS).write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    added = dcm.open(run, generator=memory.generator).add(others)
    assert added.items == 1
    assert added.memory.generate(["sky", "grass"]) == ["blue", "green"]


def test_an_id_with_other_texts_is_refused(memory: dcm.Memory, run: Path) -> None:
    before = (run / RESULTS).read_bytes()
    with pytest.raises(dcm.UsageError, match="has it with the question 'What is the capital"):
        memory.add([NEW, dcm.Example("paris", "Who is Paris?", "A Trojan")])
    with pytest.raises(dcm.UsageError, match="'sky' comes twice"):
        memory.add([NEW, NEW])
    assert (run / RESULTS).read_bytes() == before


def test_an_example_takes_the_fewest_slots_that_certify(memory: dcm.Memory) -> None:
    long = dcm.Example("long", "What is the alphabet?", " ".join("qjzxwvkyubcdtmpl" * 2))
    added = memory.add([NEW, long], slots=(1, 8), max_steps=40)
    assert added.memory["sky"].slots == 1
    assert added.memory["long"].slots == 8
    assert added.certified == 2
    assert added.slots == {1: 1, 8: 1}
    # Items of several sizes are asked and decoded together.
    assert added.memory.generate(["long", "sky", "paris"], "question") == [
        "What is the alphabet?",
        "Which colour is the sky?",
        "What is the capital of France?",
    ]
    assert added.memory.ask("which colour is the sky?", shortlist=None).text == "blue"


@pytest.mark.parametrize("slots", [0, (), (4, 2), (2, 2)])
def test_slots_that_make_no_sense_are_refused(memory: dcm.Memory, slots) -> None:
    with pytest.raises(dcm.UsageError, match="slots ="):
        memory.add([NEW], slots=slots)


def test_what_was_removed_is_gone_for_good(memory: dcm.Memory, run: Path) -> None:
    memory.remove(["paris", "moon"])
    for opened in (memory, dcm.open(run, generator=memory.generator)):
        assert set(opened) == {"hamlet", "water", "colour", "a/b é"}
        assert "paris" not in opened
        assert len(opened) == 4
        assert opened.ask("What is the capital of France?", shortlist=None).id != "paris"
    with pytest.raises(dcm.UsageError, match="was removed"):
        memory.add([dcm.Example("paris", "What?", "That")])
    with pytest.raises(dcm.UsageError, match="no item 'paris'"):
        memory.remove(["paris"])


def test_merging_leaves_out_what_was_removed(
    memory: dcm.Memory, tmp_path: Path, pairs: Pairs
) -> None:
    memory.remove(["paris"])
    merged = memory.merge(tmp_path / "new")
    assert list(merged) == [each for each in memory if each != "paris"]
    assert "Paris" not in (tmp_path / "new" / RESULTS).read_text(encoding="utf-8")
    assert b"content/paris" not in b"".join(
        each.read_bytes() for each in (tmp_path / "new/content").iterdir()
    )
    assert merged.generate(merged) == [pairs[each][1] for each in merged]
    assert torch.equal(merged["moon"].content, memory["moon"].content)
    with pytest.raises(dcm.RunDirectoryError, match="holds a run already"):
        memory.merge(tmp_path / "new")


def test_runs_are_merged_into_one(made: Path, run: Path, tmp_path: Path, nano) -> None:
    lines = (run / RESULTS).read_text(encoding="utf-8")
    (run / RESULTS).write_text(lines.replace('"id": "', '"id": "other-'), encoding="utf-8")
    merged = dcm.open(made, run, generator=nano).merge(tmp_path / "new")
    assert merged.generate(["paris", "other-paris"]) == ["Paris", "Paris"]
    with pytest.raises(dcm.UsageError, match="added to 2 runs"):
        dcm.open(made, run, generator=nano).add([NEW])


@pytest.mark.parametrize(
    ("kept", "size"), [("float16", 2 * 256), ("bfloat16", 2 * 256), ("int8", 256 + 4)]
)
def test_contents_in_fewer_bits_are_certified_again(
    memory: dcm.Memory, tmp_path: Path, pairs: Pairs, kept, size: int
) -> None:
    done = memory.convert(tmp_path / "new", kept)
    assert (done.items, done.certified) == (len(pairs), len(pairs))
    item = done.memory["moon"]
    assert item.bytes == 4 * size
    assert done.bytes == len(pairs) * 4 * size
    assert item.certified
    assert done.memory.generate(pairs) == [answer for _, answer in pairs.values()]
    line = json.loads((tmp_path / "new" / RESULTS).read_text(encoding="utf-8").splitlines()[0])
    assert line["decoded"]["question"] == pairs[line["id"]][0]


def test_what_rounding_breaks_is_optimised_again(
    memory: dcm.Memory, run: Path, tmp_path: Path
) -> None:
    shards = Contents(run)
    shards.reserve([])
    zeros = {each: torch.zeros_like(memory[each].content) for each in memory}
    modes = {mode: memory["paris"].mode_vector(mode) for mode in ("question", "answer")}
    refs = shards.save(zeros, modes, "prefix")
    lines = [{**memory[each].line, "content": refs[each]} for each in memory]
    (run / RESULTS).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    memory = dcm.open(run, generator=memory.generator)
    memory.remove(["moon", "water", "colour", "hamlet"])
    assert memory["paris"].generate() != "Paris"
    done = memory.convert(tmp_path / "new", "int8")
    assert done.optimised == done.certified == len(memory)
    assert done.memory["paris"].generate() == "Paris"


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=6, max_size=6))
def test_int8_is_off_by_half_a_step_of_its_slot_at_most(numbers: list[float]) -> None:
    content = torch.tensor(numbers).reshape(2, 3)
    packed = pack(content, "int8")
    assert packed.dtype == torch.int8
    assert packed.shape == (2, 7)
    step = content.abs().amax(-1, keepdim=True) / 127
    assert ((unpack(packed) - content).abs() <= 0.5001 * step + 1e-30).all()


@pytest.mark.parametrize("kept", ["float32", "bfloat16", "float16", "int8"])
def test_zeros_stay_zeros(kept) -> None:
    assert torch.equal(unpack(pack(torch.zeros(2, 3), kept)), torch.zeros(2, 3))
