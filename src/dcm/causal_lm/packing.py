"""Packed: all strands of all rows as one sequence, whatever their lengths.

Each strand is a text of its own in one long sequence, with no padding between: attention keeps
texts apart and positions begin anew with each. Strands that share a prompt, of one row with the
layout `suffix`, under one mode with `prefix`, stand behind one copy of it: the prompt is a text,
what is fed of each strand is another one, whose keys are the prompt's and its own. So a step is
one pass of the model, and costs what its tokens cost.

Only the total is rounded, where passes are recorded (`dcm.causal_lm.recording`): the rest of the
sequence is filled with texts that nothing reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcm.strands import Strands

Numbers = NDArray[np.int64]

# Rounded totals: this many in an octave, and the smallest one.
_IN_AN_OCTAVE, _SMALLEST = 8, 256


class Sizes(NamedTuple):
    """What a packing's tensors have as lengths; passes of equal sizes can be one recording.

    Attributes:
        slots: K.
        rows: contents, [rows, K, D].
        leads: mode vectors, [leads, D].
        positions: N, positions of the sequence.
        prompts: copies of contents in it.
        texts: S.
        tokens: M, target tokens.
        keys: positions that serve as keys; 0 where all do, once and in order.
        longest: at least the number of keys of the longest text.
        prefix: whether mode vectors stand before their content.
    """

    slots: int
    rows: int
    leads: int
    positions: int
    prompts: int
    texts: int
    tokens: int
    keys: int
    longest: int
    prefix: bool


class Packing(NamedTuple):
    """How J strands are packed.

    Attributes:
        sizes: the lengths of what follows.
        numbers: the tensors of `Packed`, one behind the other, on the strands' device.
        lead_strand: [leads] int64, whose mode vector each of them is.
        lengths: [J] int64, how many target tokens each strand has.
        tokens: how many target tokens that is; others fill up.
    """

    sizes: Sizes
    numbers: Tensor
    lead_strand: Tensor
    lengths: Tensor
    tokens: int


class Packed(NamedTuple):
    """The numbers of a packing, int64.

    Attributes:
        fed: [N] the token at each position; 0 where a vector is.
        places: [N] where each position stands in its text.
        prompt_start: [prompts] the position of each copy's first slot.
        prompt_row: [prompts] whose content it is.
        lead_start: [leads] the position of each mode vector.
        predicting: [M] the position that predicts each target token.
        targets: [M] the target tokens, strand by strand.
        starts_q: [S + 1] where each text begins.
        starts_k: [S + 1] where its keys begin.
        keys: [keys] which positions are keys, text by text.
    """

    fed: Tensor
    places: Tensor
    prompt_start: Tensor
    prompt_row: Tensor
    lead_start: Tensor
    predicting: Tensor
    targets: Tensor
    starts_q: Tensor
    starts_k: Tensor
    keys: Tensor


def packed_numbers(sizes: Sizes, numbers: Tensor) -> Packed:
    """The parts of a packing's numbers."""
    lengths = [
        sizes.positions,
        sizes.positions,
        sizes.prompts,
        sizes.prompts,
        sizes.leads,
        sizes.tokens,
        sizes.tokens,
        sizes.texts + 1,
        sizes.texts + 1,
        sizes.keys,
    ]
    return Packed(*torch.split(numbers, lengths))


def packed_sequence(
    packed: Packed, content: Tensor, lead: Tensor, embedding: torch.nn.Module
) -> Tensor:
    """[1, N, D] what the model reads, from contents [rows, K, D] and mode vectors [leads, D]."""
    # A batch of one from the beginning: of a view a layer would be compiled once more.
    fed = embedding(packed.fed[None]).detach()
    fed[0].index_copy_(0, packed.lead_start, lead.to(fed.dtype))
    found: Tensor = _Placed.apply(  # type: ignore[no-untyped-call]
        content, fed, packed.prompt_start, packed.prompt_row
    )
    return found


class _Placed(torch.autograd.Function):
    """A sequence [1, N, D] with contents [R, K, D] copied into it.

    The gradient is summed in float32 over a content's copies.
    """

    @staticmethod
    def forward(ctx, content: Tensor, fed: Tensor, start: Tensor, row: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        slots = content.shape[1]
        ctx.save_for_backward(start, row)
        ctx.shape = content.shape
        places = (start[:, None] + torch.arange(slots, device=start.device)).flatten()
        copies = content.to(fed.dtype).index_select(0, row).flatten(0, 1)
        return fed.index_copy(1, places, copies[None])

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        start, row = ctx.saved_tensors
        rows, slots, width = ctx.shape
        places = (start[:, None] + torch.arange(slots, device=start.device)).flatten()
        copies = slope[0].index_select(0, places).float().view(-1, slots, width)
        found = copies.new_zeros(rows, slots, width).index_add_(0, row, copies)
        return found, None, None, None


def pack(strands: Strands, slots: int, *, shares: bool, rounds: int) -> Packing:
    """Pack strands into one sequence.

    Args:
        strands: what is scored.
        slots: K.
        shares: whether strands with one prompt may stand behind one copy of it.
        rounds: totals up to this many positions are rounded up, so that they come again.
    """
    rows = np.array(strands.owners or strands.row.tolist(), dtype=np.int64)
    lengths = np.fromiter(map(len, strands.ids), np.int64, len(strands))
    prompt_of = _prompts(strands, rows) if shares else np.arange(len(rows))
    count = int(prompt_of.max()) + 1
    prefix = strands.layout == "prefix"
    apart = _alone if count == len(rows) else _behind
    made = apart(rows, lengths, prompt_of, count, slots, prefix)
    tokens = np.fromiter(chain.from_iterable(strands.ids), np.int64, int(lengths.sum()))
    return _filled(strands, made, tokens, lengths, slots, rounds)


class _Made(NamedTuple):
    """A packing before its total is filled up; names as in `Packed`."""

    fed_at: Numbers  # the position of each fed token, -1 for a closing one
    places: Numbers
    prompt_start: Numbers
    prompt_row: Numbers
    lead_start: Numbers
    lead_strand: Numbers
    predicting: Numbers
    lengths_q: Numbers
    lengths_k: Numbers
    keys: Numbers


def _prompts(strands: Strands, rows: Numbers) -> Numbers:
    """[J] the number of each strand's prompt, counted as they come."""
    names: Sequence[object]
    if strands.layout == "suffix":
        names = rows.tolist()
    elif strands.modes:
        names = list(zip(rows.tolist(), strands.modes, strict=True))
    else:
        return np.arange(len(rows))
    number: dict[object, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)


def _alone(
    rows: Numbers, lengths: Numbers, _: Numbers, count: int, slots: int, prefix: bool
) -> _Made:
    """Each strand with its own prompt: [mode, c, tokens] or [c, mode, tokens]."""
    whole = slots + lengths
    start = np.cumsum(whole) - whole
    offset, strand = _counted(lengths)
    first = start[strand] + slots
    return _Made(
        fed_at=np.where(offset < lengths[strand] - 1, first + 1 + offset, -1),
        places=_counted(whole)[0],
        prompt_start=start + prefix,
        prompt_row=rows,
        lead_start=start if prefix else start + slots,
        lead_strand=np.arange(count),
        predicting=first + offset,
        lengths_q=whole,
        lengths_k=whole,
        keys=np.empty(0, dtype=np.int64),
    )


def _behind(
    rows: Numbers, lengths: Numbers, prompt_of: Numbers, count: int, slots: int, prefix: bool
) -> _Made:
    """The prompts first, then what each strand feeds behind its own."""
    size = slots + prefix
    own = lengths - prefix
    begin = count * size + np.cumsum(own) - own
    offset, strand = _counted(lengths)
    first = begin[strand] + (not prefix)
    predicting = begin[strand] + offset - prefix
    if prefix:
        predicting = np.where(offset == 0, (prompt_of[strand] + 1) * size - 1, predicting)
    # Which strand first came with each prompt.
    leader = np.zeros(count, dtype=np.int64)
    leader[prompt_of[::-1]] = np.arange(len(rows))[::-1]
    own_place, _ = _counted(own)
    prompt_places = np.tile(np.arange(size), count)
    key_place, key_strand = _counted(size + own)
    in_prompt = key_place < size
    keys = np.where(
        in_prompt,
        prompt_of[key_strand] * size + key_place,
        begin[key_strand] + key_place - size,
    )
    prompts = np.arange(count) * size
    return _Made(
        fed_at=np.where(offset < lengths[strand] - 1, first + offset, -1),
        places=np.concatenate([prompt_places, size + own_place]),
        prompt_start=prompts + prefix,
        prompt_row=rows[leader],
        lead_start=prompts if prefix else begin,
        lead_strand=leader if prefix else np.arange(len(rows)),
        predicting=predicting,
        lengths_q=np.concatenate([np.full(count, size), own]),
        lengths_k=np.concatenate([np.full(count, size), size + own]),
        keys=np.concatenate([np.arange(count * size), keys]),
    )


def _counted(lengths: Numbers) -> tuple[Numbers, Numbers]:
    """0, 1, ... of every group of these lengths, and the group's number, one behind the other."""
    group = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(group)) - (np.cumsum(lengths) - lengths)[group], group


def _filled(
    strands: Strands, made: _Made, tokens: Numbers, lengths: Numbers, slots: int, rounds: int
) -> Packing:
    """The packing, filled up to rounded sizes where they are to come again."""
    used = len(made.places)
    spare = max(slots, 1)  # what fills up an index points to positions that belong to nobody
    recurs = used + spare <= rounds
    positions = _rounded(used + spare) if recurs else -(-(used + spare) // 64) * 64
    filling = (positions if recurs else positions - used) // 64 + 1
    texts, leads = len(made.lengths_q), len(made.lead_start)
    prompts, shared = len(made.prompt_start), len(made.keys)
    own_keys = shared + positions - used if shared else 0
    if recurs:
        most = positions // (slots + 1) + 1  # prompts that so many positions can hold
        sizes = Sizes(
            slots=slots,
            rows=most + 1,
            leads=_power(leads) if shared else most,
            positions=positions,
            prompts=most,
            texts=_power(texts + filling) if shared else most + filling,
            tokens=_rounded(len(tokens)),
            keys=_rounded(own_keys) if shared else 0,
            longest=_power(int(made.lengths_k.max())),
            prefix=strands.layout == "prefix",
        )
    else:
        sizes = Sizes(
            slots=slots,
            rows=strands.rows,
            leads=leads,
            positions=positions,
            prompts=prompts,
            texts=texts + filling,
            tokens=len(tokens),
            keys=own_keys,
            longest=_power(int(made.lengths_k.max())),
            prefix=strands.layout == "prefix",
        )
    fed = np.zeros(positions, dtype=np.int64)
    kept = made.fed_at >= 0
    fed[made.fed_at[kept]] = tokens[kept]
    extra = _dealt(positions - used, sizes.texts - texts)
    keys = np.concatenate([made.keys, np.arange(used, used + own_keys - shared)])
    last = positions - 1
    parts = (
        fed,
        np.concatenate([made.places, _counted(extra)[0]]),
        _padded(made.prompt_start, sizes.prompts, positions - slots),
        _padded(made.prompt_row, sizes.prompts, sizes.rows - 1),
        _padded(made.lead_start, sizes.leads, last),
        _padded(made.predicting, sizes.tokens, last),
        _padded(tokens, sizes.tokens, 0),
        _starts(np.concatenate([made.lengths_q, extra])),
        _starts(np.concatenate([made.lengths_k, extra])),
        _padded(keys, sizes.keys, last),
        _padded(made.lead_strand, sizes.leads, 0),
        lengths,
    )
    host = torch.from_numpy(np.concatenate(parts))
    device = strands.row.device
    if device.type == "cuda":
        host = host.pin_memory()
    numbers = host.to(device, non_blocking=True)
    own, lead_strand, of_strands = torch.split(
        numbers, [len(host) - len(lengths) - sizes.leads, sizes.leads, len(lengths)]
    )
    return Packing(sizes, own, lead_strand, of_strands, len(tokens))


def _padded(numbers: Numbers, length: int, filler: int) -> Numbers:
    return np.pad(numbers, (0, length - len(numbers)), constant_values=filler)


def _starts(lengths: Numbers) -> Numbers:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def _dealt(total: int, groups: int) -> Numbers:
    """`total` dealt out to so many groups, as evenly as can be."""
    return total // groups + (np.arange(groups) < total % groups)


def _rounded(total: int) -> int:
    step = max(_SMALLEST, 1 << (total - 1).bit_length()) // (2 * _IN_AN_OCTAVE)
    return max(_SMALLEST, -(-total // step) * step)


def _power(number: int) -> int:
    return int(max(64, 1 << (number - 1).bit_length()))
