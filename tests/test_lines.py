"""Computing a content once for all its strands changes nothing but the speed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import dcm
from dcm.causal_lm import CausalLM
from dcm.testing.doubles import TinyGenerator, save_tiny_model

TEXTS = ("what is it?", "a", "why", "because it is", "who", "nobody", "x" * 30, "yes")


def strands_of(generator: dcm.Generator, rows: list[int], texts: tuple[str, ...]) -> dcm.Strands:
    """Strands of `texts` behind the given rows; each text has a mode vector of its own."""
    leads = torch.stack(
        [
            torch.randn(generator.width, generator=torch.Generator().manual_seed(len(text)))
            for text in texts
        ]
    )
    return dcm.Strands(
        row=torch.tensor(rows),
        lead=leads * generator.embedding_scale,
        ids=[generator.encode(text) for text in texts],
        weight=torch.ones(len(texts)),
        rows=max(rows) + 1,
        layout="suffix",
    )


def scored(
    generator: dcm.Generator, content: Tensor, strands: dcm.Strands
) -> tuple[dcm.StrandScores, Tensor]:
    content = content.clone().requires_grad_()
    scores = generator.score(content, strands)
    (gradient,) = torch.autograd.grad(scores.nll.sum(), content)
    return scores, gradient


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt_neox", "gpt2"])
def test_packed_strands_score_as_separate_sequences_do(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path, architecture)
    generator = dcm.find("generator", "transformers")(model=str(folder), device="cpu")
    content = torch.randn(4, 5, generator.width, generator=torch.Generator().manual_seed(0))
    content *= generator.embedding_scale
    # Rows of one, two and three strands, which do not stand side by side.
    rows = [0, 1, 1, 0, 2, 3, 1, 2]

    packed, packed_gradient = scored(generator, content, strands_of(generator, rows, TEXTS))
    monkeypatch.setattr(CausalLM, "packs", False)
    plain, plain_gradient = scored(generator, content, strands_of(generator, rows, TEXTS))

    torch.testing.assert_close(packed.nll, plain.nll, atol=1e-5, rtol=0)
    torch.testing.assert_close(packed.margin, plain.margin, atol=1e-4, rtol=0)
    torch.testing.assert_close(packed_gradient, plain_gradient, atol=1e-5, rtol=1e-4)
    assert packed.exact.tolist() == plain.exact.tolist()


def test_a_packed_row_is_bit_identical_alone_and_in_company() -> None:
    generator = TinyGenerator()
    content = torch.randn(4, 5, 64, generator=torch.Generator().manual_seed(1))
    together, gradient = scored(
        generator, content, strands_of(generator, [0, 0, 1, 1, 2, 2, 3, 3], TEXTS)
    )
    for row in range(4):
        own = TEXTS[2 * row : 2 * row + 2]
        alone, own_gradient = scored(
            generator, content[row : row + 1], strands_of(generator, [0, 0], own)
        )
        assert torch.equal(alone.nll, together.nll[2 * row : 2 * row + 2])
        assert torch.equal(alone.margin, together.margin[2 * row : 2 * row + 2])
        assert torch.equal(own_gradient[0], gradient[row])


def test_a_solve_in_the_suffix_layout_gives_each_row_the_same_whatever_runs_beside_it() -> None:
    generator = TinyGenerator()
    examples = [
        dcm.Example(id=str(n), question="how " * (n % 3 + 1), answer="so" * (n % 4 + 1))
        for n in range(6)
    ]
    adam = dcm.find("optimizer", "adam")()

    def solve(chosen: list[dcm.Example], lanes: int) -> dict[str, dcm.Outcome]:
        outcomes = dcm.solve(
            generator,
            chosen,
            slots=4,
            max_steps=25,
            lanes=lanes,
            optimizer=adam,
            modes=dcm.Modes(generator, "suffix"),
        )
        return {outcome.example.id: outcome for outcome in outcomes}

    whole = solve(examples, 6)
    for other in (solve(examples[::-1], 4), solve(examples[2:3], 1)):
        for key, outcome in other.items():
            assert outcome.content is not None
            assert torch.equal(outcome.content, whole[key].content)
            assert outcome.losses == whole[key].losses
            assert outcome.steps == whole[key].steps
