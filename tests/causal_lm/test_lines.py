"""Computing a shared prompt once changes nothing but the speed; neither does compiling."""

from __future__ import annotations

import warnings
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dcm
from dcm import Layout
from dcm.causal_lm import CausalLM, token_scores
from dcm.testing.doubles import TinyGenerator, save_tiny_model

TEXTS = ("what is it?", "a", "why", "because it is", "who", "nobody", "x" * 30, "yes")


def strands_of(
    generator: dcm.Generator,
    rows: list[int],
    texts: tuple[str, ...],
    layout: Layout = "suffix",
    modes: str = "abcdefgh",
) -> dcm.Strands:
    """Strands of `texts` behind the given rows, each under its mode."""
    leads = torch.stack(
        [
            torch.randn(generator.width, generator=torch.Generator().manual_seed(ord(mode)))
            for mode in modes[: len(texts)]
        ]
    )
    return dcm.Strands(
        row=torch.tensor(rows),
        lead=leads * generator.embedding_scale,
        ids=[generator.encode(text) for text in texts],
        weight=torch.ones(len(texts)),
        rows=max(rows) + 1,
        layout=layout,
        modes=modes[: len(texts)],
    )


def scored(
    generator: dcm.Generator, content: Tensor, strands: dcm.Strands
) -> tuple[dcm.StrandScores, Tensor]:
    content = content.clone().requires_grad_()
    scores = generator.score(content, strands)
    (gradient,) = torch.autograd.grad(scores.nll.sum(), content)
    return scores, gradient


def assert_same_gradient(one: Tensor, other: Tensor) -> None:
    """To 1e-5 of the largest: what float32 rounds off is the same for large and small elements."""
    torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=0)


@pytest.mark.parametrize(("layout", "modes"), [("suffix", "abcdefgh"), ("prefix", "aaabbcaa")])
@pytest.mark.parametrize("architecture", ["qwen2", "llama", "gpt_neox", "gpt2"])
def test_strands_behind_one_prompt_score_as_separate_sequences_do(
    architecture: str,
    layout: Layout,
    modes: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_tiny_model(tmp_path, architecture)
    generator = dcm.find("generator", "transformers")(model=str(folder), device="cpu")
    content = torch.randn(4, 5, generator.width, generator=torch.Generator().manual_seed(0))
    content *= generator.embedding_scale
    # Rows of one, two and three strands, which do not stand side by side.
    rows = [0, 1, 1, 0, 2, 3, 1, 2]

    def strands() -> dcm.Strands:
        return strands_of(generator, rows, TEXTS, layout, modes)

    packed, packed_gradient = scored(generator, content, strands())
    monkeypatch.setattr(CausalLM, "shares_prompts", lambda *_: False)
    plain, plain_gradient = scored(generator, content, strands())

    torch.testing.assert_close(packed.nll, plain.nll, atol=1e-5, rtol=0)
    torch.testing.assert_close(packed.margin, plain.margin, atol=1e-4, rtol=0)
    assert_same_gradient(packed_gradient, plain_gradient)
    assert packed.exact.tolist() == plain.exact.tolist()


@pytest.mark.parametrize(("layout", "modes"), [("suffix", "ab"), ("prefix", "aa")])
def test_a_row_that_shares_is_bit_identical_alone_and_in_company(
    layout: Layout, modes: str
) -> None:
    generator = TinyGenerator()
    content = torch.randn(4, 5, 64, generator=torch.Generator().manual_seed(1))
    rows = [0, 0, 1, 1, 2, 2, 3, 3]
    together, gradient = scored(
        generator, content, strands_of(generator, rows, TEXTS, layout, modes * 4)
    )
    for row in range(4):
        own = TEXTS[2 * row : 2 * row + 2]
        alone, own_gradient = scored(
            generator,
            content[row : row + 1],
            strands_of(generator, [0, 0], own, layout, modes),
        )
        assert torch.equal(alone.nll, together.nll[2 * row : 2 * row + 2])
        assert torch.equal(alone.margin, together.margin[2 * row : 2 * row + 2])
        assert torch.equal(own_gradient[0], gradient[row])


@pytest.mark.parametrize(("layout", "modes", "fed"), [("suffix", "abc", 80), ("prefix", "aaa", 79)])
def test_the_positions_of_a_shared_prompt_are_computed_once(
    layout: Layout, modes: str, fed: int
) -> None:
    generator, read = TinyGenerator(), []
    strands = strands_of(generator, [0, 0, 0], ("x" * 29, "y" * 19, "z" * 29), layout, modes)
    content = torch.zeros(1, 40, 64)
    generator.score(content, strands)  # what is tried once of a model
    layer = generator.lm.model.model.layers[0]
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[:2]))
    with torch.no_grad():
        generator.score(content, strands)
    hook.remove()
    assert [tuple(shape) for shape in read] == [(1, 40 + dcm.bucket(fed))]


def test_more_strands_than_a_line_has_positions_for_stand_in_several_lines() -> None:
    generator = TinyGenerator()  # 256 positions
    texts, rows = tuple(letter * 120 for letter in "abcde"), [0, 0, 0, 1, 1]
    content = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(2)) * 0.3
    together, gradient = scored(generator, content, strands_of(generator, rows, texts))
    for place, (row, text, mode) in enumerate(zip(rows, texts, "abcde", strict=True)):
        own = strands_of(generator, [0], (text,), "suffix", mode)
        alone, _ = scored(generator, content[row : row + 1], own)
        assert alone.nll.item() == pytest.approx(together.nll[place].item(), abs=1e-5)
    assert gradient.isfinite().all()


# Torch's own, while it compiles; it is an error nowhere but here.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated")
@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_compiled_layers_score_as_the_model_does(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Everything but the machine code, for which there may be no compiler here.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    generator = TinyGenerator()
    content = torch.randn(4, 5, 64, generator=torch.Generator().manual_seed(3)) * 0.3
    rows = [0, 1, 1, 0, 2, 3, 1, 2]
    compiled = CausalLM(generator.lm.model, generator.lm.tokenizer, compiled=True)
    strands = strands_of(generator, rows, TEXTS, layout)
    plain, plain_gradient = scored(generator, content, strands)
    found, gradient = scored(compiled, content, strands)
    assert compiled.regions.active
    torch.testing.assert_close(found.nll, plain.nll, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.margin, plain.margin, atol=1e-4, rtol=0)
    assert_same_gradient(gradient, plain_gradient)
    # Decoding, and whoever else uses the model, has it as it was.
    arguments = (content[:2], strands.lead[:2], 6, layout)
    assert compiled.decode(*arguments) == generator.decode(*arguments)


@pytest.mark.parametrize("first", ["baselines", "one row", "a step"])
def test_a_model_that_cannot_be_compiled_runs_as_it_is(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is scored first, and whichever part of it would be the first to be compiled."""

    def no_compiler(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    fresh = cache(token_scores._measure_compiled.__wrapped__)
    monkeypatch.setattr(token_scores, "_measure_compiled", fresh)
    generator = TinyGenerator()
    compiled = CausalLM(generator.lm.model, generator.lm.tokenizer, compiled=True)
    content = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(3)) * 0.3
    strands = strands_of(generator, [0, 1, 1], TEXTS[:3], "prefix")
    expected, expected_gradient = scored(generator, content, strands)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if first == "baselines":
            with torch.no_grad():
                assert torch.equal(compiled.score(content, strands).nll, expected.nll)
        elif first == "one row":
            scored(compiled, content[:1], strands_of(generator, [0], TEXTS[:1], "prefix"))
        for _ in range(2):
            found, gradient = scored(compiled, content, strands)
            assert torch.equal(found.nll, expected.nll)
            assert torch.equal(gradient, expected_gradient)
    (warning,) = [str(each.message) for each in caught if "not compiled" in str(each.message)]
    assert "Failed to find C compiler" in warning


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


def test_strands_with_a_mode_too_few_are_refused() -> None:
    with pytest.raises(dcm.UsageError, match="ids 2, modes 1"):
        dcm.Strands(
            row=torch.zeros(2, dtype=torch.int64),
            lead=torch.zeros(2, 64),
            ids=[(1, 256), (2, 256)],
            weight=torch.ones(2),
            rows=1,
            modes=["question"],
        )
