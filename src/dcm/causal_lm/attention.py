"""Attention: kernels that are ready for every shape, and texts packed into one sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

_READY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

_PACKED = "dcm-packed"

# What torch's memory-efficient kernels call a causal mask in which queries end where keys end.
_CAUSAL_FROM_THE_END = 2


def ready_attention(device: torch.device) -> AbstractContextManager[object]:
    """Within it torch's attention takes no kernel that is planned anew for each shape.

    cuDNN's are, and nearly every step has another shape: rows leave, and a decoded text grows. That
    made steps of the bundled model in bfloat16 three times as slow on an H100.
    """
    return sdpa_kernel(_READY) if device.type == "cuda" else nullcontext()


class PackedAttention:
    """Lets a Hugging Face model's attention keep texts apart that are packed into one sequence.

    Args:
        model: called by anyone else, or otherwise, it is as it was.
    """

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(_PACKED, _attention)
        found = [module.config for module in model.modules() if _attends(module)]
        self._configs = list({id(config): config for config in found}.values())

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within it the model takes one sequence of packed texts.

        It is to be called with `inputs_embeds` [1, N, D], `position_ids` [1, N] that begin anew
        with each text, no mask, and `cu_seq_lens_q`, `cu_seq_lens_k` [S + 1] int32, `max_length_q`,
        `max_length_k`, which transformers hands on to attention. With `packed_keys` [M] int64 the
        keys and values of the texts are those positions, in this order, so that texts can share
        some: a text's queries stand at the end of its keys.
        """
        before = [config._attn_implementation for config in self._configs]
        for config in self._configs:
            config._attn_implementation = _PACKED
        try:
            yield
        finally:
            for config, name in zip(self._configs, before, strict=True):
                config._attn_implementation = name


def _attends(module: Any) -> bool:
    return hasattr(getattr(module, "config", None), "_attn_implementation")


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    packed_keys: Tensor | None = None,
    cu_seq_lens_q: Tensor,
    cu_seq_lens_k: Tensor,
    max_length_q: int,
    max_length_k: int,
    **_: object,
) -> tuple[Tensor, None]:
    """What a model's attention layers call: [1, heads, N, d] each, to [1, N, heads, d]."""
    if softcap is not None or attention_mask is not None or not getattr(module, "is_causal", True):
        raise NotImplementedError("packed attention is causal, without a cap and other masks")
    if query.shape[-1] != value.shape[-1]:
        raise NotImplementedError("packed attention has keys and values of one width")
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    if packed_keys is not None:
        key, value = key.index_select(0, packed_keys), value.index_select(0, packed_keys)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    found, _lse = _packed(
        query,
        key,
        value,
        cu_seq_lens_q,
        cu_seq_lens_k,
        max_length_q,
        max_length_k,
        scale,
        sliding_window or 0,
        s_aux,
    )
    return found[None], None


@torch.library.custom_op("dcm::packed_attention", mutates_args=())
def _packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    window: int,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Causal attention of S packed texts, each query at the end of its text's keys.

    Args:
        query: [N, heads, d].
        key: [M, key heads, d].
        value: as `key`.
        starts_q: [S + 1] int32, where each text begins in `query`, and where the last one ends.
        starts_k: [S + 1] int32, likewise in `key`.
        longest_q: at least the number of queries of the longest text.
        longest_k: at least its number of keys.
        scale: factor of the scores.
        window: how many keys each query sees at most, itself included; 0 for all.
        sinks: [heads] scores of a key of its own that each query sees and that has no value.

    Returns:
        [N, heads, d], and the logarithm of each softmax's denominator, float32, in a layout and to
        a base of the kernel's own.
    """
    if not query.is_cuda:
        return _plain_forward(query, key, value, starts_q, starts_k, scale, window, sinks)
    if query.dtype == torch.float32:
        if sinks is not None or window:
            raise NotImplementedError("packed attention in float32 has no windows and no sinks")
        wide_key, wide_value = (_repeated(each, query) for each in (key, value))
        found, lse, *_ = torch.ops.aten._efficient_attention_forward(
            query[None], wide_key[None], wide_value[None], None,
            starts_q, starts_k, longest_q, longest_k, 0.0, _CAUSAL_FROM_THE_END,
            compute_log_sumexp=True, scale=scale,
        )  # fmt: skip
        return found[0], lse
    from dcm.causal_lm import kernels

    # Triton starts its kernels on the current device, wherever the tensors are.
    with torch.cuda.device(query.device):
        return kernels.forward(
            query, key, value, starts_q, starts_k, longest_q, scale, window, sinks
        )


@_packed.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    window: int,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    # By its shape: `len` would be a number that holds for this length alone.
    heads, total = query.shape[1], query.shape[0]
    if query.is_cuda and query.dtype == torch.float32:
        shape = (starts_q.shape[0] - 1, heads, (longest_q + 31) // 32 * 32)
        return query.new_empty(query.shape), query.new_empty(shape, dtype=torch.float32)
    return query.new_empty(query.shape), query.new_empty((heads, total), dtype=torch.float32)


@torch.library.custom_op("dcm::packed_attention_backward", mutates_args=())
def _packed_backward(
    slope: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    lse: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in query, key and value.

    A sink needs no kernel of its own: with its share in `found` and `lse` the softmax's shares
    come out right.
    """
    if not query.is_cuda:
        return _plain_backward(
            slope, query, key, value, found, lse, starts_q, starts_k, scale, window
        )
    if query.dtype == torch.float32:
        wide_key, wide_value = (_repeated(each, query) for each in (key, value))
        nothing = torch.zeros((), dtype=torch.int64, device=query.device)  # there is no dropout
        in_query, in_key, in_value, _ = torch.ops.aten._efficient_attention_backward(
            slope.contiguous()[None], query[None], wide_key[None], wide_value[None], None,
            found[None], starts_q, starts_k, longest_q, longest_k, lse, 0.0, nothing, nothing,
            _CAUSAL_FROM_THE_END, bias_requires_grad=False, scale=scale,
        )  # fmt: skip
        return in_query[0], _gathered(in_key[0], key), _gathered(in_value[0], value)
    from dcm.causal_lm import kernels

    with torch.cuda.device(query.device):
        return kernels.backward(
            slope, query, key, value, found, lse,
            starts_q, starts_k, longest_q, longest_k, scale, window,
        )  # fmt: skip


@_packed_backward.register_fake
def _(
    slope: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    lse: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    in_query, in_key, in_value = (each.new_empty(each.shape) for each in (query, key, value))
    return in_query, in_key, in_value


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, starts_q, starts_k, *ctx.numbers, _sinks = inputs
    ctx.save_for_backward(query, key, value, *output, starts_q, starts_k)


def _differentiate(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = _packed_backward(slope, *ctx.saved_tensors, *ctx.numbers)
    return *gradients, *[None] * 7


_packed.register_autograd(_differentiate, setup_context=_keep)


def _repeated(tensor: Tensor, query: Tensor) -> Tensor:
    """[M, heads, d] of keys or values [M, key heads, d]."""
    times = query.shape[1] // tensor.shape[1]
    return tensor if times == 1 else tensor.repeat_interleave(times, 1)


def _gathered(gradient: Tensor, tensor: Tensor) -> Tensor:
    """The gradient in `tensor` [M, key heads, d] from that in `_repeated(tensor, ...)`."""
    heads = tensor.shape[1]
    return gradient.view(len(gradient), heads, -1, gradient.shape[2]).sum(2)


def _plain_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    scale: float,
    window: int,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What the kernels compute, text by text: the reference."""
    found = torch.empty_like(query, memory_format=torch.contiguous_format)
    lse = query.new_empty((query.shape[1], len(query)), dtype=torch.float32)
    for queries, keys in _texts(starts_q, starts_k):
        own = query[queries]
        its_key, its_value = (_repeated(each[keys], query) for each in (key, value))
        scores = _scores(own, its_key, scale, window)
        whole = scores.logsumexp(-1)
        if sinks is not None:
            whole = torch.logaddexp(whole, sinks.float()[:, None])
        shares = (scores - whole[..., None]).exp().to(value.dtype)
        found[queries] = torch.einsum("hqk,khd->qhd", shares, its_value)
        lse[:, queries] = whole
    return found, lse


def _plain_backward(
    slope: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    lse: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    in_query, in_key, in_value = (each.new_zeros(each.shape) for each in (query, key, value))
    for queries, keys in _texts(starts_q, starts_k):
        own, its_slope = query[queries], slope[queries]
        its_key, its_value = (_repeated(each[keys], query) for each in (key, value))
        scores = _scores(own, its_key, scale, window)
        shares = (scores - lse[:, queries, None]).exp()
        of_value = torch.einsum("hqk,qhd->khd", shares.to(slope.dtype), its_slope)
        in_shares = torch.einsum("qhd,khd->hqk", its_slope, its_value).float()
        mean = (its_slope * found[queries]).sum(-1).float().t()[..., None]
        in_scores = (shares * (in_shares - mean) * scale).to(query.dtype)
        in_query[queries] = torch.einsum("hqk,khd->qhd", in_scores, its_key)
        of_key = torch.einsum("hqk,qhd->khd", in_scores, own)
        in_key[keys], in_value[keys] = _gathered(of_key, key), _gathered(of_value, value)
    return in_query, in_key, in_value


def _texts(starts_q: Tensor, starts_k: Tensor) -> Iterator[tuple[slice, slice]]:
    """The queries and the keys of each text that has any queries."""
    # Text by text, as masked scores would not do: no share of what is not a number is one.
    for queries, keys in zip(pairwise(starts_q.tolist()), pairwise(starts_k.tolist()), strict=True):
        if queries[1] > queries[0]:
            yield slice(*queries), slice(*keys)


def _scores(query: Tensor, key: Tensor, scale: float, window: int) -> Tensor:
    """[heads, queries, keys] of one text; -inf where a query does not see a key."""
    scores = torch.einsum("qhd,khd->hqk", query, key).float() * scale
    offset = len(key) - len(query)
    seen = torch.ones(len(query), len(key), dtype=torch.bool, device=query.device).tril(offset)
    if window:
        seen = seen.triu(offset - window + 1)
    return scores.masked_fill(~seen, -torch.inf)
