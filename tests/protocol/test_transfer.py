"""Transfer probes, on a generator whose losses are known."""

from __future__ import annotations

from functools import cached_property

import attrs
import pytest
import torch

from dcm import Example, Generator, Modes, StrandScores
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.transfer import probe
from dcm.running.run_directory import RunDirectory


@attrs.frozen
class Lookup(Generator):
    """Content [i] makes the text "i" cost nothing, and any other its distance from i."""

    width, vocabulary, context_length, embedding_scale = 1, 256, 64, 1.0

    @cached_property
    def asked(self) -> list[str]:
        return []

    device = property(lambda self: torch.device("cpu"))
    dtype = property(lambda self: torch.float32)

    def encode(self, text):
        return (*text.encode(), 0)

    def text(self, ids):
        return bytes(ids[:-1]).decode()

    def embed(self, ids):
        return torch.zeros(*ids.shape, 1)

    def score(self, content, strands):
        wanted = torch.tensor([float(self.text(ids)) for ids in strands.ids])
        nll = (content[strands.row].mean((1, 2)) - wanted).abs()
        return StrandScores(nll, nll == 0, -nll)

    def decode(self, content, lead, max_new_tokens, layout="prefix"):
        return [str(int(value)) for value in content.mean((1, 2))]


# Contents of the questions lie at 3, 5 and 9; the answers are "3", "6" and "9".
EXAMPLES = {
    str(n): Example(str(n), str(at), answer)
    for n, (at, answer) in enumerate(zip((3, 5, 9), "369", strict=True))
}


@pytest.fixture
def run(tmp_path, make):
    directory = RunDirectory.create(tmp_path / "run", {})
    contents = {id: torch.full((2, 1), float(e.question)) for id, e in EXAMPLES.items()}
    directory.save_contents(contents, {"question": torch.zeros(1)}, "prefix")
    for id in contents:
        directory.append(make(id, content=directory.ref(id)))
    directory.append(make("failed", status="FAILED", losses={}))
    return directory.path


def baselines(full_context: float) -> BaselineTable:
    kinds = {"random": {"answer": [3.0, 5.0]}, "full_context": {"answer": [full_context]}}
    return BaselineTable(dict.fromkeys(EXAMPLES, kinds), {})


def measured(run, full_context: float = 1.0):
    generator = Lookup()
    return probe(
        run,
        generator,
        EXAMPLES,
        baselines(full_context),
        Modes(generator),
        optimised="question",
        probed="answer",
    )


def test_the_answer_is_measured_behind_the_contents_of_the_questions(run):
    found = measured(run)
    # Distances 0, 1 and 0; random 4, plain text 1.
    assert found.loss.value == pytest.approx(1 / 3)
    assert found.random.value == 4.0
    assert found.below_random.value == pytest.approx(4 - 1 / 3)
    assert found.above_full_context.value == pytest.approx(1 / 3 - 1)
    assert found.loss.count == 3


def test_it_is_compared_with_the_contents_of_other_examples(run):
    # Each text behind the next one's content: |5 - 3|, |9 - 6|, |3 - 9|.
    assert measured(run).below_other.value == pytest.approx((2 + 3 + 6) / 3 - 1 / 3)


def test_it_is_decoded_under_the_other_mode(run):
    found = measured(run)
    assert (found.verbatim.value, found.verbatim.count) == (pytest.approx(2 / 3), 3)
    assert found.f1.value == pytest.approx(2 / 3)


def test_an_example_without_baselines_is_left_out(run):
    kinds = {"random": {"answer": [1.0]}, "full_context": {"answer": [1.0]}}
    generator = Lookup()
    found = probe(
        run,
        generator,
        EXAMPLES,
        BaselineTable({"0": kinds, "1": kinds}, {"2": "too long"}),
        Modes(generator),
        optimised="question",
        probed="answer",
    )
    assert found.loss.count == found.verbatim.count == 2


def test_a_plain_text_that_did_not_fit_is_left_out(run):
    found = measured(run, full_context=float("nan"))
    assert found.above_full_context.as_json()["value"] is None
    assert found.full_context.count == 0
    assert found.as_json()["probed"] == "answer"
