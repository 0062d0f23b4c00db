"""A cache of a fixed size gives the texts that a growing one gives, or is not used."""

from __future__ import annotations

import pytest
import torch

from dcm.causal_lm import static_decoding
from dcm.causal_lm.decoding import Way, decode_greedily
from dcm.causal_lm.static_decoding import StaticDecoding, _Steps

# Some end at once, some are longer than the windows, some have the same limit.
LIMITS = [3, 40, 1, 12, 20, 7, 33, 40]


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "mistral", "gemma3_text", "bloom"])
def test_texts_are_those_of_a_growing_cache(build, name, layout) -> None:
    lm = build(name)
    embedding = lm.model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(1)
    content = embedding[torch.randint(256, (len(LIMITS), 5), generator=generator)].float()
    lead = embedding[torch.randint(256, (len(LIMITS),), generator=generator)].float()
    with torch.no_grad():
        grown = decode_greedily(lm.model, lm.end, content, lead, LIMITS, layout, Way())
        static = StaticDecoding(lm.model, lm.end)
        assert static.decode(content, lead, LIMITS, layout) == grown
        # Again, in what the first batch has left behind, and in other company.
        assert static.decode(content[:3], lead[:3], LIMITS[:3], layout) == grown[:3]
    assert all(len(text) <= limit for text, limit in zip(grown, LIMITS, strict=True))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "gpt_oss"])
def test_no_step_is_told_by_python_where_it_stands(build, name) -> None:
    """What Python counts would stand still in a recording, as the windows' layers did."""
    lm = build(name)
    steps = _Steps(lm.model, lm.end, 2, 64)
    counts = []

    def look(_module, _given, options):
        cache = options["past_key_values"]
        numbers = [v for layer in cache.layers for v in vars(layer).values() if type(v) is int]
        counts.append((numbers, type(cache.get_seq_length())))

    hook = lm.model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with torch.no_grad():
            steps.begin(torch.zeros(2, 5, lm.model.config.hidden_size))
            steps.write([4, 4], 4)
    finally:
        hook.remove()
    assert counts[1:]
    assert all(each == counts[1] for each in counts[1:])
    assert counts[1][1] is torch.Tensor


def test_a_shorter_cache_is_not_tried_where_a_longer_one_held(build, monkeypatch) -> None:
    lm = build("llama")
    content, lead = torch.zeros(2, 3, 64), torch.zeros(2, 64)
    static = StaticDecoding(lm.model, lm.end)
    assert static.decode(content, lead, [100, 4], "prefix") is not None
    monkeypatch.setattr(static_decoding, "last_logits", pytest.fail)
    assert static.decode(content, lead, [4, 4], "prefix") is not None


def test_a_model_without_such_a_cache_is_decoded_as_before(build) -> None:
    lm = build("mamba")
    content, lead = torch.zeros(2, 3, 64), torch.zeros(2, 64)
    assert StaticDecoding(lm.model, lm.end).decode(content, lead, [4, 4], "prefix") is None


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_no_position_is_read_that_the_model_lacks(build, name) -> None:
    """It has 768, between two powers of two; of one beyond a GPU would end the process."""
    lm = build(name)
    content, lead = torch.zeros(1, 500, 64), torch.zeros(1, 64)
    read = set()

    def look(_module, _given, options):
        read.add(options["inputs_embeds"].shape[1])

    hook = lm.model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        found = StaticDecoding(lm.model, lm.end).decode(content, lead, [20], "prefix")
    finally:
        hook.remove()
    assert found is not None
    assert max(read) < 768


def test_where_memory_does_not_hold_a_fixed_cache_a_growing_one_is_used(build, monkeypatch) -> None:
    """For the texts that it does not hold: others are decoded as before."""
    lm = build("llama")
    content, lead = torch.zeros(20, 3, 64), torch.zeros(20, 64)
    cache = static_decoding._cache

    def small(model, length):
        if length > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return cache(model, length)

    monkeypatch.setattr(static_decoding, "_cache", small)
    static = StaticDecoding(lm.model, lm.end)
    assert static.decode(content[:1], lead[:1], [100], "prefix") is None
    assert static.decode(content[:1], lead[:1], [4], "prefix") is not None
    with pytest.raises(torch.OutOfMemoryError):  # of these, fewer at once may fit
        static.decode(content, lead, [100] * 20, "prefix")


def test_what_is_kept_gives_way_before_a_growing_cache_is_used(build, monkeypatch) -> None:
    lm = build("llama")
    content, lead = torch.zeros(2, 3, 64), torch.zeros(2, 64)
    static = StaticDecoding(lm.model, lm.end)
    cache, left = static_decoding._cache, [True]

    def give_way():
        return left.pop() if left else False

    def short(model, length):
        if left:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return cache(model, length)

    monkeypatch.setattr(static_decoding, "_cache", short)
    monkeypatch.setattr(static_decoding, "make_way", give_way)
    assert static.decode(content, lead, [4, 4], "prefix") is not None


def test_a_model_that_is_spread_over_devices_is_decoded_as_before(build, monkeypatch) -> None:
    """No recording is tried of it, which could only fail."""
    lm = build("llama")
    monkeypatch.setattr(static_decoding, "_cache", pytest.fail)
    monkeypatch.setitem(
        lm.model._parameters, "elsewhere", torch.nn.Parameter(torch.zeros(1, device="meta"))
    )
    content, lead = torch.zeros(2, 3, 64), torch.zeros(2, 64)
    assert StaticDecoding(lm.model, lm.end).decode(content, lead, [4, 4], "prefix") is None
