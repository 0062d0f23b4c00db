"""What a memory says to a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import dcm
from dcm.causal_lm.generator_loss import generator_loss
from dcm.running.run_directory import RESULTS

Pairs = dict[str, tuple[str, str]]


def test_every_mode_is_generated_many_at_once(memory: dcm.Memory, pairs: Pairs) -> None:
    assert memory.generate(pairs) == [answer for _, answer in pairs.values()]
    assert memory.generate(pairs, "question") == [question for question, _ in pairs.values()]
    assert memory["moon"].generate() == "384,000 kilometres"
    assert memory["moon"].generate("question") == pairs["moon"][0]
    assert memory.generate([]) == []


def test_an_unknown_id_or_mode_says_what_there_is(memory: dcm.Memory) -> None:
    with pytest.raises(dcm.UsageError, match=r"no item 'pariss'\. Did you mean 'paris'"):
        memory.generate(["pariss"])
    with pytest.raises(dcm.UsageError, match=r"mode 'summary'\. It has question, answer"):
        memory.generate(["paris"], "summary")


@pytest.mark.parametrize("shortlist", [2, None])
def test_a_stored_question_finds_its_item(
    memory: dcm.Memory, pairs: Pairs, shortlist: int | None
) -> None:
    for example_id, (question, answer) in pairs.items():
        found = memory.ask(question, shortlist=shortlist)
        assert (found.id, found.text) == (example_id, answer)
        assert found.margin > 0


def test_losses_are_those_of_the_model(memory: dcm.Memory, nano: dcm.Generator) -> None:
    asked = "what's the capital of france"
    found = memory.ask(asked, top=6, shortlist=None, words=0)
    assert len(found.candidates) == 6
    assert [each.score for each in found.candidates] == sorted(
        each.loss for each in found.candidates
    )
    for each in found.candidates:
        item = memory[each.id]
        prompt = torch.cat([item.mode_vector("question")[None], item.content])
        wanted = generator_loss(nano.lm.model, torch.tensor(nano.encode(asked)), prompt)
        assert each.loss == pytest.approx(float(wanted), rel=1e-4)


def test_many_questions_are_answered_as_they_are_alone(memory: dcm.Memory) -> None:
    asked = ["what is the capital city of france?", "hamlet was written by whom?", "boiling water"]
    together = memory.ask_all(asked)
    for question, answer in zip(asked, together, strict=True):
        alone = memory.ask(question)
        assert (alone.id, alone.text) == (answer.id, answer.text)
        assert alone.loss == pytest.approx(answer.loss, rel=1e-5)


def test_the_margin_passes_over_items_with_the_same_answer(run: Path, nano: dcm.Generator) -> None:
    line = json.loads((run / RESULTS).read_text(encoding="utf-8").splitlines()[0])
    alone = dcm.open(run, generator=nano).ask(line["question"]).margin
    with (run / RESULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "id": "twin"}) + "\n")
    twice = dcm.open(run, generator=nano).ask(line["question"])
    assert twice.candidates[0].loss == twice.candidates[1].loss
    assert twice.margin > alone / 2


def test_a_calibrated_memory_says_that_nothing_fits(memory: dcm.Memory, made: Path) -> None:
    assert memory.ask("Who wrote Hamlet?").fits is None
    strangers = [f"Why do {each} sing at night?" for each in "abcdefghijklmnopqrst"]
    threshold = memory.calibrate(strangers, false_answers=0.05)
    assert (threshold.questions, threshold.of, threshold.items) == (20, "given", 6)
    assert threshold.false_answers <= 0.05
    answers = memory.ask_all(strangers)
    assert sum(answer.fits for answer in answers) <= 1
    assert memory.ask("Who wrote Hamlet?").fits is True
    # It is kept with the run.
    assert dcm.open(*memory.paths, generator=memory.generator).threshold == threshold
    assert dcm.open(made).threshold is None


def test_too_few_questions_make_no_threshold(memory: dcm.Memory) -> None:
    with pytest.raises(dcm.UsageError, match=r"from 6 unrelated questions.*at least 20"):
        memory.calibrate()
    with pytest.raises(dcm.UsageError, match="false_answers = 2"):
        memory.calibrate(["who?"] * 20, false_answers=2)


def test_what_cannot_be_asked_is_refused(memory: dcm.Memory, pairs: Pairs) -> None:
    with pytest.raises(dcm.UsageError, match="empty text"):
        memory.ask("  ")
    with pytest.raises(dcm.UsageError, match="shortlist = 0"):
        memory.ask("who?", shortlist=0)
    memory.remove(pairs)
    with pytest.raises(dcm.UsageError, match="memory is empty"):
        memory.ask("who?")
