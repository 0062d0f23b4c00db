"""Kernels: causal attention of many short texts that stand in one sequence, in Triton.

In half precision. Flash attention works in blocks of 128 queries and keys, of which a strand of 40
tokens fills a tenth, and sums gradients in passes of their own: of a step of SmolLM2-135M it took
half the time, these kernels take a fifth (one H100, measured). A program has a block of 64, or 32,
of one text, and each gradient is summed by one program, so that no result depends on which program
comes first. Source: FlashAttention-2 (Dao 2023, arXiv 2307.08691), without its split of long texts.
Float32 has torch's kernels: such products take Triton 20 seconds to compile.

Imported only where there is a GPU: Triton comes with torch's builds for it.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOG2_E = 1.4426950408889634


@triton.jit
def _block(base, rows, columns, row_stride, length, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Lines `rows` of a text's matrix, zeros beyond its length and width."""
    inside = (rows[:, None] < length) & (columns[None, :] < width)
    return tl.load(base + rows[:, None] * row_stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _seen(rows, keys, offset, length_q, length_k, window, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which keys each query sees; queries end where keys end."""
    place = rows[:, None] + offset
    seen = (keys[None, :] <= place) & (keys[None, :] < length_k) & (rows[:, None] < length_q)
    if WINDOW:
        seen = seen & (keys[None, :] > place - window)
    return seen


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    query, key, value, sinks, found, lse,
    starts_q, starts_k,
    qn, qh, kn, kh, vn, vh, fn, fh,
    total, group, scale, window,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    WINDOW: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    text, block = tl.program_id(0), tl.program_id(1)
    head = tl.program_id(2).to(tl.int64)  # heads may be as far apart as all texts are long
    begin_q, begin_k = tl.load(starts_q + text), tl.load(starts_k + text)
    length_q = tl.load(starts_q + text + 1) - begin_q
    length_k = tl.load(starts_k + text + 1) - begin_k
    if block * ROWS >= length_q:
        return
    offset = length_k - length_q
    columns = tl.arange(0, COLUMNS)
    rows = block * ROWS + tl.arange(0, ROWS)
    own = _block(query + begin_q.to(tl.int64) * qn + head * qh, rows, columns, qn, length_q, WIDTH)
    of_key = key + begin_k.to(tl.int64) * kn + (head // group) * kh
    of_value = value + begin_k.to(tl.int64) * vn + (head // group) * vh
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total_share = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    first = 0
    if WINDOW:
        first = tl.maximum(0, block * ROWS + offset - window + 1) // KEYS * KEYS
    for begin in range(first, tl.minimum(length_k, (block + 1) * ROWS + offset), KEYS):
        keys = begin + tl.arange(0, KEYS)
        its_keys = _block(of_key, keys, columns, kn, length_k, WIDTH)
        scores = tl.dot(own, tl.trans(its_keys)) * scale
        seen = _seen(rows, keys, offset, length_q, length_k, window, WINDOW)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        shares = tl.exp2(scores - safe[:, None])
        kept = tl.exp2(most - safe)
        its_values = _block(of_value, keys, columns, vn, length_k, WIDTH)
        sums = sums * kept[:, None]
        sums += tl.dot(shares.to(its_values.dtype), its_values)
        total_share = total_share * kept + tl.sum(shares, 1)
        most = higher
    if SINKS:
        sink = tl.load(sinks + head).to(tl.float32) * 1.4426950408889634
        higher = tl.maximum(most, sink)
        kept = tl.exp2(most - higher)
        sums = sums * kept[:, None]
        total_share = total_share * kept + tl.exp2(sink - higher)
        most = higher
    sums = sums / total_share[:, None]
    inside = (rows[:, None] < length_q) & (columns[None, :] < WIDTH)
    place = found + begin_q.to(tl.int64) * fn + head * fh
    tl.store(
        place + rows[:, None] * fn + columns[None, :], sums.to(found.dtype.element_ty), mask=inside
    )
    at = lse + head * total + begin_q
    tl.store(at + rows, most + tl.log2(total_share), mask=rows < length_q)


@triton.jit
def _backward_query(  # type: ignore[no-untyped-def]
    slope, query, key, value, found, lse, in_query,
    starts_q, starts_k,
    sn, sh, qn, qh, kn, kh, vn, vh, fn, fh, gn, gh,
    total, group, scale, natural_scale, window,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    WINDOW: tl.constexpr,
):  # fmt: skip
    text, block = tl.program_id(0), tl.program_id(1)
    head = tl.program_id(2).to(tl.int64)  # heads may be as far apart as all texts are long
    begin_q, begin_k = tl.load(starts_q + text), tl.load(starts_k + text)
    length_q = tl.load(starts_q + text + 1) - begin_q
    length_k = tl.load(starts_k + text + 1) - begin_k
    if block * ROWS >= length_q:
        return
    offset = length_k - length_q
    columns = tl.arange(0, COLUMNS)
    rows = block * ROWS + tl.arange(0, ROWS)
    start = begin_q.to(tl.int64)
    own = _block(query + start * qn + head * qh, rows, columns, qn, length_q, WIDTH)
    its_slope = _block(slope + start * sn + head * sh, rows, columns, sn, length_q, WIDTH)
    its_found = _block(found + start * fn + head * fh, rows, columns, fn, length_q, WIDTH)
    mean = tl.sum(its_slope.to(tl.float32) * its_found.to(tl.float32), 1)
    at = lse + head * total + begin_q
    whole = tl.load(at + rows, mask=rows < length_q, other=0.0)
    of_key = key + begin_k.to(tl.int64) * kn + (head // group) * kh
    of_value = value + begin_k.to(tl.int64) * vn + (head // group) * vh
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    first = 0
    if WINDOW:
        first = tl.maximum(0, block * ROWS + offset - window + 1) // KEYS * KEYS
    for begin in range(first, tl.minimum(length_k, (block + 1) * ROWS + offset), KEYS):
        keys = begin + tl.arange(0, KEYS)
        its_keys = _block(of_key, keys, columns, kn, length_k, WIDTH)
        its_values = _block(of_value, keys, columns, vn, length_k, WIDTH)
        scores = tl.dot(own, tl.trans(its_keys)) * scale
        seen = _seen(rows, keys, offset, length_q, length_k, window, WINDOW)
        shares = tl.where(seen, tl.exp2(scores - whole[:, None]), 0.0)
        in_shares = tl.dot(its_slope, tl.trans(its_values))
        in_scores = shares * (in_shares - mean[:, None]) * natural_scale
        sums += tl.dot(in_scores.to(its_keys.dtype), its_keys)
    inside = (rows[:, None] < length_q) & (columns[None, :] < WIDTH)
    place = in_query + start * gn + head * gh
    tl.store(
        place + rows[:, None] * gn + columns[None, :],
        sums.to(in_query.dtype.element_ty),
        mask=inside,
    )


@triton.jit
def _backward_key(  # type: ignore[no-untyped-def]
    slope, query, key, value, found, lse, in_key, in_value,
    starts_q, starts_k,
    sn, sh, qn, qh, kn, kh, vn, vh, fn, fh, gn, gh,
    total, group, scale, natural_scale, window,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    WINDOW: tl.constexpr,
):  # fmt: skip
    text, block = tl.program_id(0), tl.program_id(1)
    key_head = tl.program_id(2).to(tl.int64)
    begin_q, begin_k = tl.load(starts_q + text), tl.load(starts_k + text)
    length_q = tl.load(starts_q + text + 1) - begin_q
    length_k = tl.load(starts_k + text + 1) - begin_k
    if block * KEYS >= length_k:
        return
    offset = length_k - length_q
    columns = tl.arange(0, COLUMNS)
    keys = block * KEYS + tl.arange(0, KEYS)
    start, start_k = begin_q.to(tl.int64), begin_k.to(tl.int64)
    its_keys = _block(key + start_k * kn + key_head * kh, keys, columns, kn, length_k, WIDTH)
    its_values = _block(value + start_k * vn + key_head * vh, keys, columns, vn, length_k, WIDTH)
    key_sums = tl.zeros([KEYS, COLUMNS], tl.float32)
    value_sums = tl.zeros([KEYS, COLUMNS], tl.float32)
    first = tl.maximum(0, block * KEYS - offset) // ROWS * ROWS
    last = length_q
    if WINDOW:
        last = tl.minimum(length_q, (block + 1) * KEYS - offset + window)
    for member in range(group):
        head = key_head * group + member
        at = lse + head * total + begin_q
        for begin in range(first, last, ROWS):
            rows = begin + tl.arange(0, ROWS)
            own = _block(query + start * qn + head * qh, rows, columns, qn, length_q, WIDTH)
            its_slope = _block(slope + start * sn + head * sh, rows, columns, sn, length_q, WIDTH)
            its_found = _block(found + start * fn + head * fh, rows, columns, fn, length_q, WIDTH)
            mean = tl.sum(its_slope.to(tl.float32) * its_found.to(tl.float32), 1)
            whole = tl.load(at + rows, mask=rows < length_q, other=0.0)
            scores = tl.dot(own, tl.trans(its_keys)) * scale
            seen = _seen(rows, keys, offset, length_q, length_k, window, WINDOW)
            shares = tl.where(seen, tl.exp2(scores - whole[:, None]), 0.0)
            value_sums += tl.dot(tl.trans(shares.to(its_slope.dtype)), its_slope)
            in_shares = tl.dot(its_slope, tl.trans(its_values))
            in_scores = shares * (in_shares - mean[:, None]) * natural_scale
            key_sums += tl.dot(tl.trans(in_scores.to(own.dtype)), own)
    inside = (keys[:, None] < length_k) & (columns[None, :] < WIDTH)
    place = start_k * gn + key_head * gh + keys[:, None] * gn + columns[None, :]
    tl.store(in_key + place, key_sums.to(in_key.dtype.element_ty), mask=inside)
    tl.store(in_value + place, value_sums.to(in_value.dtype.element_ty), mask=inside)


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    scale: float,
    window: int,
    sinks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """See `dcm.causal_lm.attention`; the second result [heads, N] is a logarithm to the base 2."""
    query, key, value = (_lined(each) for each in (query, key, value))
    total, heads, _ = query.shape
    found = query.new_empty(query.shape)
    lse = query.new_empty((heads, total), dtype=torch.float32)
    sizes = _sizes(query)
    grid = (len(starts_q) - 1, triton.cdiv(longest_q, sizes["ROWS"]), heads)
    _forward[grid](
        query, key, value, query if sinks is None else sinks, found, lse,
        starts_q, starts_k,
        *_strides(query, key, value, found),
        total, heads // key.shape[1], scale * _LOG2_E, window,
        WINDOW=window > 0, SINKS=sinks is not None, **sizes,
    )  # fmt: skip
    return found, lse


def backward(
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
    """The gradients in query, key and value."""
    slope, query, key, value = (_lined(each) for each in (slope, query, key, value))
    total, heads, _ = query.shape
    texts, sizes = len(starts_q) - 1, _sizes(query)
    in_query, in_key, in_value = (each.new_empty(each.shape) for each in (query, key, key))
    given = (slope, query, key, value, found, lse)
    numbers = (total, heads // key.shape[1], scale * _LOG2_E, scale, window)
    _backward_query[(texts, triton.cdiv(longest_q, sizes["ROWS"]), heads)](
        *given, in_query, starts_q, starts_k,
        *_strides(slope, query, key, value, found, in_query), *numbers,
        WINDOW=window > 0, **sizes,
    )  # fmt: skip
    _backward_key[(texts, triton.cdiv(longest_k, sizes["KEYS"]), key.shape[1])](
        *given, in_key, in_value, starts_q, starts_k,
        *_strides(slope, query, key, value, found, in_key), *numbers,
        WINDOW=window > 0, **sizes,
    )  # fmt: skip
    return in_query, in_key, in_value


def _lined(tensor: Tensor) -> Tensor:
    """[N, heads, d] whose lines of d are whole."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for each in tensors for stride in each.stride()[:2]]


def _sizes(query: Tensor) -> dict[str, Any]:
    """Sizes of the blocks: of larger ones wide heads leave no room (measured on an H100)."""
    width, columns = query.shape[2], max(16, triton.next_power_of_2(query.shape[2]))
    block = 64 if columns <= 64 else 32
    return {
        "WIDTH": width,
        "COLUMNS": columns,
        "ROWS": block,
        "KEYS": block,
        "num_warps": 4,
        "num_stages": 1,
    }
