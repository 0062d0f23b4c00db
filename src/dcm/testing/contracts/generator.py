"""What a generator promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

import attrs
import pytest
import torch
from hypothesis import given
from torch import Tensor

from dcm.causal_lm import CausalLMGenerator
from dcm.causal_lm.generator_loss import generator_loss
from dcm.errors import GeneratorError
from dcm.generator import Generator
from dcm.strands import Layout, Strands
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.strategies import texts

# The texts and their rows: of one token and of many, and two rows with several.
_TEXTS = ("a", "The sky is blue.", "42", "What is the colour of the clear sky at noon?", "no")
_ROWS = (0, 1, 1, 2, 0)
_SLOTS = 3


class GeneratorContract(ComponentContract):
    """A frozen language model that scores and decodes behind continuous vectors.

    On a CPU in float32, results must be equal bit for bit, elsewhere nearly. Override `generator`
    with one and the same instance for all tests, so that its model is loaded once.
    """

    kind = "generator"

    @pytest.fixture
    def generator(self) -> Generator:
        raise NotImplementedError("override the fixture `generator`")

    @pytest.fixture
    def component(self, generator: Generator) -> Generator:
        return generator

    @FEW
    @given(text=texts())
    def test_a_text_comes_back_from_its_tokens(self, generator: Generator, text: str) -> None:
        ids = generator.encode(text)
        assert all(0 <= id < generator.vocabulary for id in ids)
        assert generator.text(ids) == text
        assert generator.text((*ids, *ids)) == text  # the first end-of-text token ends it

    @pytest.mark.parametrize("text", ["", " ", "\n\n", " a  b ", "<|endoftext|>", "</s>", "<s>a"])
    def test_white_space_and_spellings_of_special_tokens_are_texts_too(
        self, generator: Generator, text: str
    ) -> None:
        assert generator.text(generator.encode(text)) == text

    def test_every_text_ends_with_the_same_token(self, generator: Generator) -> None:
        (end,) = generator.encode("")
        for text in _TEXTS:
            ids = generator.encode(text)
            assert ids[-1] == end
            assert end not in ids[:-1]

    def test_what_it_says_of_itself_is_so(self, generator: Generator) -> None:
        ids = torch.arange(min(generator.vocabulary, 4096), device=generator.device)
        spread = float(generator.embed(ids).std())
        assert spread / 3 < generator.embedding_scale < spread * 3
        assert generator.context_length > _SLOTS + 1
        assert generator.logit_noise >= 0
        assert all(0 <= id < generator.vocabulary for id in generator.opening)

    @pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
    def test_tokens_are_embedded(self, generator: Generator, shape: tuple[int, ...]) -> None:
        ids = torch.ones(shape, dtype=torch.int64, device=generator.device)
        embedded = generator.embed(ids)
        assert embedded.shape == (*shape, generator.width)
        assert embedded.dtype == torch.float32
        assert embedded.device == generator.device
        assert not embedded.requires_grad

    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_strands_are_scored(self, generator: Generator, layout: Layout) -> None:
        case = _case(generator, layout)
        scores = generator.score(case.content, case.strands)
        count = len(case.strands)
        assert scores.nll.shape == scores.exact.shape == scores.margin.shape == (count,)
        assert scores.nll.dtype == scores.margin.dtype == torch.float32
        assert bool(scores.nll.isfinite().all())
        assert bool((scores.nll >= 0).all())
        assert bool(scores.margin.isfinite().all())
        assert torch.equal(scores.exact, scores.margin > 0)

    def test_a_row_has_a_gradient_and_no_other_row_is_in_it(self, generator: Generator) -> None:
        case = _case(generator)
        content = case.content.requires_grad_()
        nll = generator.score(content, case.strands).nll
        for row in range(len(content)):
            own = nll[case.strands.row == row].sum()
            (gradient,) = torch.autograd.grad(own, content, retain_graph=True)
            assert bool(gradient.isfinite().all())
            others = torch.arange(len(content)) != row
            assert bool((gradient[row] != 0).any())
            assert bool((gradient[others.to(gradient.device)] == 0).all())

    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    @pytest.mark.parametrize(
        "rows",
        [[0], [1], [2], [2, 0, 1], [0, 1, 2] * 5],
        ids=["first alone", "second alone", "third alone", "permuted", "among many"],
    )
    def test_a_row_scores_the_same_whatever_runs_beside_it(
        self, generator: Generator, layout: Layout, rows: list[int]
    ) -> None:
        case = _case(generator, layout)
        nll, margin, gradient = _measured(generator, case)
        part, places = _part(case, rows)
        found = _measured(generator, part)
        _assert_same(generator, found[0], nll[places])
        _assert_same(generator, found[1], margin[places])
        _assert_same(generator, found[2], gradient[rows])

    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_scores_stand_in_the_order_of_the_strands(
        self, generator: Generator, layout: Layout
    ) -> None:
        content, strands = _case(generator, layout)
        expected = _measured(generator, _Case(content, strands))
        order = list(range(len(strands)))[::-1]
        found = _measured(generator, _Case(content, _ordered(strands, order)))
        # Nearly: strands of one row may share its computation, in their order.
        _assert_near(generator, found[0], expected[0][order])
        _assert_near(generator, found[1], expected[1][order])
        _assert_near(generator, found[2], expected[2])

    @pytest.mark.parametrize("slots", [0, 1, 4])
    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_a_content_of_token_embeddings_scores_as_those_tokens_do(
        self, generator: Generator, slots: int, layout: Layout
    ) -> None:
        """-log p(b, c | prompt) = -log p(b | prompt) - log p(c | prompt, b)."""
        ids = generator.encode("The quick brown fox jumps over the lazy dog.")
        prompt, target = ids[: slots + 1], ids[slots + 1 : slots + 5]
        whole = _total(generator, prompt, target, layout)
        for cut in range(1, len(target)):
            first = _total(generator, prompt, target[:cut], layout)
            if generator.frame[1]:  # behind which no prompt reaches
                assert first < whole
                continue
            second = _total(generator, (*prompt, *target[:cut]), target[cut:], layout)
            assert first + second == pytest.approx(whole, rel=_tolerance(generator))

    def test_both_layouts_are_one_prompt_of_tokens(self, generator: Generator) -> None:
        ids = generator.encode("one two three")
        prefix, suffix = (_total(generator, ids, ids, layout) for layout in ("prefix", "suffix"))
        assert prefix == pytest.approx(suffix, rel=_tolerance(generator))

    def test_a_prompt_or_target_longer_than_the_context_is_refused(
        self, generator: Generator
    ) -> None:
        case = _case(generator)
        long = [generator.encode("a")[:1] * generator.context_length] * len(case.strands)
        with pytest.raises(GeneratorError):
            generator.score(case.content, attrs.evolve(case.strands, ids=long))
        content = case.content[:1, :1].expand(1, generator.context_length - 1, generator.width)
        with pytest.raises(GeneratorError):
            generator.decode(content, case.strands.lead[:1], 1)

    def test_nothing_it_does_changes_it(self, generator: Generator) -> None:
        case = _case(generator)
        before = _measured(generator, case)
        generator.decode(case.content, case.strands.lead[: len(case.content)], 3)
        for found, expected in zip(_measured(generator, case), before, strict=True):
            _assert_same(generator, found, expected)

    def test_what_is_exact_decodes(self, generator: Generator) -> None:
        content, strands = _solved(generator)
        wanted = [generator.text(ids) for ids in strands.ids]
        rows = strands.row.tolist()
        assert generator.decode(content[rows], strands.lead, 40) == wanted
        for place, row in enumerate(rows):
            lead = strands.lead[[place]]
            assert generator.decode(content[[row]], lead, 40) == [wanted[place]]
        backwards = generator.decode(content[rows[::-1]], strands.lead.flip(0), 40)
        assert backwards == wanted[::-1]

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_decoding_stops_where_it_is_told(self, generator: Generator, most: int) -> None:
        content, strands = _solved(generator)
        wanted = [generator.text(ids[:most]) for ids in strands.ids]
        assert generator.decode(content[strands.row], strands.lead, most) == wanted

    def test_every_prompt_may_have_its_own_limit(self, generator: Generator) -> None:
        content, strands = _solved(generator)
        limits = [1 + place % 3 for place in range(len(strands.ids))]
        wanted = [generator.text(ids[:most]) for ids, most in zip(strands.ids, limits, strict=True)]
        assert generator.decode(content[strands.row], strands.lead, limits) == wanted

    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_decoding_is_deterministic(self, generator: Generator, layout: Layout) -> None:
        case = _case(generator, layout)
        lead = case.strands.lead[: len(case.content)]
        first = generator.decode(case.content, lead, 8, layout)
        assert len(first) == len(case.content)
        assert generator.decode(case.content, lead, 8, layout) == first

    def test_nothing_decodes_to_nothing(self, generator: Generator) -> None:
        case = _case(generator)
        assert generator.decode(case.content[:0], case.strands.lead[:0], 5) == []


class CausalLMContract(GeneratorContract):
    """A generator that delegates to a `CausalLM` does what the plain model does."""

    @pytest.fixture
    def generator(self) -> CausalLMGenerator:
        raise NotImplementedError("override the fixture `generator`")

    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_the_loss_is_that_of_the_plain_computation(
        self, generator: CausalLMGenerator, layout: Layout
    ) -> None:
        case = _case(generator, layout)
        content = case.content.requires_grad_()
        nll = generator.score(content, case.strands).nll
        plain = [
            generator_loss(
                generator.lm.model,
                torch.tensor(ids, device=generator.device),
                _prompt(generator, content[row], lead, layout),
            )
            for row, lead, ids in zip(
                case.strands.row.tolist(), case.strands.lead, case.strands.ids, strict=True
            )
        ]
        expected = torch.stack(plain)
        _assert_near(generator, nll, expected)
        (found,) = torch.autograd.grad(nll.sum(), content)
        (wanted,) = torch.autograd.grad(expected.sum(), content)
        _assert_near(generator, found, wanted)

    @torch.no_grad()
    @pytest.mark.parametrize("layout", ["prefix", "suffix"])
    def test_decoding_is_greedy(self, generator: CausalLMGenerator, layout: Layout) -> None:
        case = _case(generator, layout)
        model = generator.lm.model
        leads = case.strands.lead[: len(case.content)]
        wanted = []
        for content, lead in zip(case.content, leads, strict=True):
            sequence = _prompt(generator, content, lead, layout)[None].to(generator.dtype)
            ids: list[int] = []
            for _ in range(8):  # the whole sequence again for every token: no cache
                logits = model(inputs_embeds=sequence, use_cache=False).logits
                ids.append(int(logits[0, -1].argmax()))
                embedded = generator.embed(torch.tensor([[ids[-1]]], device=generator.device))
                sequence = torch.cat([sequence, embedded.to(sequence.dtype)], dim=1)
            wanted.append(generator.text(ids))
        assert generator.decode(case.content, leads, 8, layout) == wanted

    def test_its_parameters_never_change(self, generator: CausalLMGenerator) -> None:
        model = generator.lm.model
        before = {name: value.clone() for name, value in model.state_dict().items()}
        case = _case(generator)
        content = case.content.requires_grad_()
        torch.autograd.backward(generator.score(content, case.strands).nll.sum())
        generator.decode(content.detach(), case.strands.lead[: len(content)], 4)
        after = model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert all(each.grad is None and not each.requires_grad for each in model.parameters())


class _Case(NamedTuple):
    content: Tensor
    strands: Strands


def _case(generator: Generator, layout: Layout = "prefix") -> _Case:
    ids = [generator.encode(text) for text in _TEXTS]
    return _assembled(generator, _ROWS, ids, slots=_SLOTS, rows=max(_ROWS) + 1, layout=layout)


def _assembled(
    generator: Generator,
    row: Sequence[int],
    ids: Sequence[tuple[int, ...]],
    *,
    slots: int,
    rows: int,
    layout: Layout = "prefix",
) -> _Case:
    """Random contents and leads, the same at every call."""
    random = torch.Generator().manual_seed(0)
    content = torch.randn(rows, slots, generator.width, generator=random)
    lead = torch.randn(len(ids), generator.width, generator=random)
    content, lead = (
        (each * generator.embedding_scale).to(generator.device) for each in (content, lead)
    )
    owner = torch.tensor(row, device=generator.device)
    weight = torch.ones(len(ids), device=generator.device)
    return _Case(content, Strands(owner, lead, ids, weight, rows, layout))


@lru_cache(maxsize=1)
def _solved(generator: Generator) -> _Case:
    """A content a row, optimised until both its targets are exact by a safe margin."""
    targets = [generator.encode(text) for text in ("Yes.", "Is it?", "7", "3 + 4?")]
    content, strands = _assembled(generator, [0, 0, 1, 1], targets, slots=16, rows=2)
    content.requires_grad_()
    adam = torch.optim.Adam([content], lr=0.1)
    for _ in range(300):
        scores = generator.score(content, strands)
        if bool((scores.margin > generator.logit_noise).all()):
            return _Case(content.detach(), strands)
        adam.zero_grad()
        torch.autograd.backward(scores.nll.sum())
        adam.step()
    raise AssertionError("no content was found in 300 steps")


def _part(case: _Case, rows: list[int]) -> tuple[_Case, list[int]]:
    """A case of some of a case's rows, and where its strands stand in the whole."""
    content, strands = case
    owner = strands.row.tolist()
    blocks = [[(new, place) for place in _places(owner, row)] for new, row in enumerate(rows)]
    # All first strands, then all second ones: a row's strands need not stand together.
    turns = zip_longest(*blocks)
    pairs = [pair for turn in turns for pair in turn if pair is not None]
    places = [place for _, place in pairs]
    part = _ordered(strands, places)
    row = torch.tensor([new for new, _ in pairs], device=strands.row.device)
    return _Case(content[rows], attrs.evolve(part, row=row, rows=len(rows))), places


def _ordered(strands: Strands, places: list[int]) -> Strands:
    return attrs.evolve(
        strands,
        row=strands.row[places],
        lead=strands.lead[places],
        ids=[strands.ids[place] for place in places],
        weight=strands.weight[places],
    )


def _places(owner: list[int], row: int) -> list[int]:
    return [place for place, own in enumerate(owner) if own == row]


def _measured(generator: Generator, case: _Case) -> tuple[Tensor, Tensor, Tensor]:
    """nll [J], margin [J] and the gradient of all nll [R, K, D]."""
    content = case.content.detach().clone().requires_grad_()
    scores = generator.score(content, case.strands)
    (gradient,) = torch.autograd.grad(scores.nll.sum(), content)
    return scores.nll.detach(), scores.margin, gradient


def _total(
    generator: Generator, prompt: Sequence[int], target: tuple[int, ...], layout: Layout
) -> float:
    """Nats of a whole target behind the embeddings of prompt tokens."""
    embedded = generator.embed(torch.tensor(prompt, device=generator.device))
    lead, content = (
        (embedded[0], embedded[1:]) if layout == "prefix" else (embedded[-1], embedded[:-1])
    )
    one = torch.zeros(1, dtype=torch.int64, device=generator.device)
    weight = torch.ones(1, device=generator.device)
    strands = Strands(one, lead[None], [target], weight, 1, layout)
    return float(generator.score(content[None], strands).nll) * len(target)


def _prompt(generator: Generator, content: Tensor, lead: Tensor, layout: Layout) -> Tensor:
    parts = (lead[None], content) if layout == "prefix" else (content, lead[None])
    before, behind = (
        generator.embed(torch.tensor(ids, dtype=torch.int64, device=generator.device))
        for ids in generator.frame
    )
    return torch.cat([before, *parts, behind])


def _tolerance(generator: Generator) -> float:
    return 1e-4 if generator.dtype in (torch.float32, torch.float64) else 0.05


def _assert_same(generator: Generator, found: Tensor, expected: Tensor) -> None:
    if generator.device.type == "cpu" and generator.dtype == torch.float32:
        assert torch.equal(found, expected)
    else:
        _assert_near(generator, found, expected)


def _assert_near(generator: Generator, found: Tensor, expected: Tensor) -> None:
    tolerance = _tolerance(generator)
    atol = tolerance * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=atol)
