"""CUDA graphs themselves: recorded steps are what they are without. For machines with a GPU."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch

from dcm import Strands, find, solve
from dcm.causal_lm import CausalLM, recording
from dcm.causal_lm.decoding import Way, decode_greedily
from dcm.causal_lm.recording import Recordings
from dcm.causal_lm.static_decoding import StaticDecoding

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

LINES = [3, 8, 3, 4, 2, 3, 4, 7, 5, 3, 8, 1, 3, 4, 6, 8]


@pytest.fixture(autouse=True)
def _launches_take_the_time(monkeypatch):
    """Whatever else the machine does."""
    monkeypatch.setattr(recording, "_LAUNCHES", 1e-6)


def function(first, other):
    return first.sin().cumsum(1) + other[:, None], first.detach().sum(1)


def drawn(lines):
    first = torch.randn(lines, 5, device="cuda", requires_grad=True)
    return first, torch.arange(lines * 1.0, device="cuda")


def result(run, first, other):
    found, aside = run(first, other)
    (gradient,) = torch.autograd.grad(found.square().sum(), first)
    return found.detach().clone(), aside.clone(), gradient


def same(one, other):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, other, strict=True))


def near(one, other):
    """As `same`, of a model's passes: sums in another order leave the least elements no digits."""
    return all(
        float((a - b).norm()) <= 1e-5 * float(b.norm()) for a, b in zip(one, other, strict=True)
    )


def test_results_and_gradients_are_those_without():
    recordings = Recordings(torch.device("cuda"))
    for lines in LINES:
        given = drawn(lines)
        run = partial(recordings.run, function, "plain", lines)
        assert same(result(run, *given), result(function, *given))
    assert recordings.made >= 3


def test_a_function_that_waits_goes_on_and_leaves_the_process_alone():
    def waits(first, other):
        assert first.sum().item() < 1e9
        return function(first, other)

    recordings = Recordings(torch.device("cuda"))
    for _ in range(8):
        given = drawn(3)
        run = partial(recordings.run, waits, "waits", 3)
        assert same(result(run, *given), result(function, *given))
    assert not recordings.made
    assert torch.randn(3, device="cuda").isfinite().all()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before


def test_a_recording_that_failed_keeps_no_memory(monkeypatch):
    monkeypatch.setattr(recording, "_SHARE", 1.0)
    recordings = Recordings(torch.device("cuda"))

    def waits(first, other):
        wide = first[:, :, None].expand(-1, -1, 1 << 23).sin()  # 0.7 GB for four lines
        assert wide.mean().item() < 1e9
        return wide.mean(2) + other[:, None], first.detach().sum(1)

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(8):
        result(partial(recordings.run, waits, "waits", 4), *drawn(4))
        torch.cuda.synchronize()
    assert not recordings.made
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() - before < 1 << 28


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_recording_that_would_take_too_much_is_not_made(share, monkeypatch):
    monkeypatch.setattr(recording, "_SHARE", share)
    recordings = Recordings(torch.device("cuda"))

    def large(first, other):
        wide = first[:, :, None].expand(-1, -1, 1 << 24).sin()  # 1.3 GB for four lines
        return wide.mean(2) + other[:, None], first.detach().sum(1)

    before = torch.cuda.memory_reserved()
    for _ in range(6):
        result(partial(recordings.run, large, "large", 4), *drawn(4))
        torch.cuda.synchronize()  # what a pass takes is known when it is over
    assert recordings.made == (share == 1.0)
    torch.cuda.empty_cache()
    assert (torch.cuda.memory_reserved() - before > 1 << 30) == (share == 1.0)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_small_model_scores_as_without(layout, monkeypatch):
    generator = find("generator", "nano")(device="cuda")
    texts = [generator.encode(text) for text in ("Who was it?", "she", "Where?", "in Rome")]
    lead = generator.embed(torch.tensor([5, 9, 5, 9], device="cuda"))
    row, weight = torch.tensor([0, 0, 1, 1], device="cuda"), torch.ones(4, device="cuda")
    strands = Strands(row, lead, texts, weight, 2, layout)
    content = torch.randn(2, 8, generator.width, device="cuda") * generator.embedding_scale
    found = {}
    for recorded in (False, True):
        lm = CausalLM(generator.lm.model, generator.lm.tokenizer, compiled=False)
        recordings = lm._packed._recordings
        recordings.limit *= recorded
        for _ in range(8):
            leaf = content.clone().requires_grad_()
            nll = lm.score(leaf, strands).nll
            found[recorded] = nll.detach(), *torch.autograd.grad(nll.sum(), leaf)
        assert bool(recordings.made) == recorded
    assert near(found[False], found[True])


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "gpt_oss"])
def test_recorded_decoding_gives_the_texts_of_a_growing_cache(build, name):
    """Also of layers with windows, whose caches count in Python."""
    lm = build(name)
    model = deepcopy(lm.model).to("cuda")
    table = model.get_input_embeddings().weight
    chosen = torch.randint(256, (4, 6), device="cuda")
    content, lead, limits = (
        table[chosen[:, 1:]].float(),
        table[chosen[:, 0]].float(),
        [40, 9, 40, 1],
    )
    static = StaticDecoding(model, lm.end)
    with torch.no_grad():
        grown = decode_greedily(model, lm.end, content, lead, limits, "prefix", Way())
        for _ in range(2):  # recorded in the first, repeated in the second
            found = static.decode(content, lead, limits, "prefix")
            # Experts in float32 wait for the GPU, which cannot be recorded.
            assert found == grown or (found is None and name == "gpt_oss")


def test_a_run_within_a_small_part_of_the_memory_ends():
    """As of a small card: what is recorded leaves room for rows and for decoding."""
    generator = find("generator", "nano")(device="cuda")
    _ = generator.lm
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + (1 << 30)
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        pairs = find("dataset", "arithmetic")(count=300)
        solved = list(solve(generator, pairs, slots=8))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sum(each.exact for each in solved) == 300


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_on_another_than_the_current_device_is_recorded_too(dtype):
    found = {}
    for device in ("cuda:0", "cuda:1"):
        generator = find("generator", "nano")(device=device, dtype=dtype)
        assert generator.lm.packs("prefix", 64) is not None
        ids = [generator.encode(text) for text in ("Who was it?", "she")]
        lead = generator.embed(torch.tensor([5, 9], device=device))
        row, weight = torch.zeros(2, dtype=torch.int64, device=device), lead.new_ones(2)
        strands = Strands(row, lead, ids, weight, 1, "prefix")
        lm = CausalLM(generator.lm.model, generator.lm.tokenizer, compiled=False)
        for _ in range(8):
            leaf = generator.embed(torch.arange(8, device=device))[None].requires_grad_()
            nll = lm.score(leaf, strands).nll
            found[device] = nll.detach().cpu(), torch.autograd.grad(nll.sum(), leaf)[0].cpu()
        assert lm._packed._recordings.made
    assert near(*found.values())
