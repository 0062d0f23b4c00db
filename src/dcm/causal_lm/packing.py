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

import torch
from torch import Tensor

from dcm.sending import send
from dcm.strands import Strands

# Rounded totals: this many in an octave, and the smallest one.
_IN_AN_OCTAVE, _SMALLEST = 2, 256

# Most positions of a text that fills up.
FILLER = 64


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
        recurs: whether sizes are rounded, so that they come again.
    """

    sizes: Sizes
    numbers: Tensor
    lead_strand: Tensor
    lengths: Tensor
    tokens: int
    recurs: bool


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


def pack(
    strands: Strands, slots: int, *, shares: bool, rounds: int, context: int = FILLER
) -> Packing:
    """Pack strands into one sequence.

    All but a strand's tokens is computed on its device, from the strands' lengths.

    Args:
        strands: what is scored.
        slots: K.
        shares: whether strands with one prompt may stand behind one copy of it.
        rounds: totals are rounded up where that makes no more than so many positions, so that they
            come again.
        context: most positions of a text: of one that fills up, too, each is looked up.
    """
    rows = list(strands.owners or strands.row.tolist())
    lengths = list(map(len, strands.ids))
    prompt_of = _prompts(strands, rows) if shares else list(range(len(rows)))
    count = max(prompt_of) + 1
    prefix = int(strands.layout == "prefix")
    tokens = list(chain.from_iterable(strands.ids))
    # One copy to the device.
    host = torch.tensor([*tokens, *rows, *lengths, *prompt_of], dtype=torch.int64)
    own_tokens, row, length, prompt = torch.split(
        send(host, strands.row.device), [len(tokens), *[len(rows)] * 3]
    )
    if count == len(rows):
        made = _alone(row, length, len(tokens), slots, prefix)
        longest = slots + max(lengths)
    else:
        made = _behind(row, length, prompt, len(tokens), count, slots, prefix)
        longest = slots + prefix + max(lengths)
    return _filled(strands, made, own_tokens, length, longest, slots, rounds, min(context, FILLER))


class _Made(NamedTuple):
    """A packing before its total is filled up; names as in `Packed`."""

    fed_at: Tensor  # the position of each target token where it is fed; -1 for a closing one
    places: Tensor
    prompt_start: Tensor
    prompt_row: Tensor
    lead_start: Tensor
    lead_strand: Tensor
    predicting: Tensor
    lengths_q: Tensor
    lengths_k: Tensor
    keys: Tensor


def _prompts(strands: Strands, rows: Sequence[int]) -> list[int]:
    """The number of each strand's prompt, counted as they come."""
    names: Sequence[object]
    if strands.layout == "suffix":
        names = rows
    elif strands.modes:
        names = list(zip(rows, strands.modes, strict=True))
    else:
        return list(range(len(rows)))
    number: dict[object, int] = {}
    return [number.setdefault(name, len(number)) for name in names]


def _alone(row: Tensor, length: Tensor, total: int, slots: int, prefix: int) -> _Made:
    """Each strand with its own prompt: [mode, c, tokens] or [c, mode, tokens]."""
    whole = slots + length
    start = whole.cumsum(0) - whole
    offset, strand = _counted(length, total)
    first = start[strand] + slots
    return _Made(
        fed_at=torch.where(offset < length[strand] - 1, first + 1 + offset, -1),
        places=_counted(whole, total + slots * len(row))[0],
        prompt_start=start + prefix,
        prompt_row=row,
        lead_start=start if prefix else start + slots,
        lead_strand=torch.arange(len(row), device=row.device),
        predicting=first + offset,
        lengths_q=whole,
        lengths_k=whole,
        keys=row[:0],
    )


def _behind(
    row: Tensor, length: Tensor, prompt: Tensor, total: int, count: int, slots: int, prefix: int
) -> _Made:
    """The prompts first, then what each strand feeds behind its own."""
    device, strands = row.device, len(row)
    size = slots + prefix
    own = length - prefix
    begin = count * size + own.cumsum(0) - own
    offset, strand = _counted(length, total)
    first = begin[strand] + 1 - prefix
    predicting = begin[strand] + offset - prefix
    if prefix:
        predicting = torch.where(offset == 0, (prompt[strand] + 1) * size - 1, predicting)
    # Which strand came first with each prompt.
    leader = torch.full((count,), strands, device=device).scatter_reduce(
        0, prompt, torch.arange(strands, device=device), "amin"
    )
    own_total = total - prefix * strands
    key_place, key_strand = _counted(size + own, own_total + size * strands)
    behind = begin[key_strand] + key_place - size
    keys = torch.where(key_place < size, prompt[key_strand] * size + key_place, behind)
    prompts = torch.arange(count, device=device) * size
    sizes = torch.full((count,), size, device=device)
    return _Made(
        fed_at=torch.where(offset < length[strand] - 1, first + offset, -1),
        places=torch.cat(
            [torch.arange(size, device=device).repeat(count), size + _counted(own, own_total)[0]]
        ),
        prompt_start=prompts + prefix,
        prompt_row=row[leader],
        lead_start=prompts if prefix else begin,
        lead_strand=leader if prefix else torch.arange(strands, device=device),
        predicting=predicting,
        lengths_q=torch.cat([sizes, own]),
        lengths_k=torch.cat([sizes, size + own]),
        keys=torch.cat([torch.arange(count * size, device=device), keys]),
    )


def _counted(lengths: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """0, 1, ... of every group of these lengths, and the group's number, one behind the other."""
    device = lengths.device
    # With its total given, nobody waits for a GPU to count it.
    group = torch.repeat_interleave(
        torch.arange(len(lengths), device=device), lengths, output_size=total
    )
    return torch.arange(total, device=device) - (lengths.cumsum(0) - lengths)[group], group


def _filled(
    strands: Strands,
    made: _Made,
    tokens: Tensor,
    lengths: Tensor,
    longest: int,
    slots: int,
    rounds: int,
    filler: int,
) -> Packing:
    """The packing, filled up to rounded sizes where they are to come again."""
    used = len(made.places)
    spare = max(slots, 1)  # what fills up an index points to positions that belong to nobody
    positions = _rounded(used + spare, _SMALLEST)
    recurs = positions <= rounds
    if not recurs:
        positions = -(-(used + spare) // 64) * 64
    filling = (positions if recurs else positions - used) // filler + 1
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
            # Behind one prompt strands may have more: what predicts their first is theirs together.
            tokens=min(_power(len(tokens)), max(positions, _rounded(len(tokens), _SMALLEST))),
            keys=_rounded(own_keys, _SMALLEST) if shared else 0,
            longest=_power(longest),
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
            longest=_power(longest),
            prefix=strands.layout == "prefix",
        )
    device, last = tokens.device, positions - 1
    # Closing tokens, which are not fed, go to a place that is cut off.
    fed = torch.zeros(positions + 1, dtype=torch.int64, device=device)
    fed[made.fed_at] = tokens
    extra = _dealt(positions - used, sizes.texts - texts, device)
    keys = torch.cat([made.keys, torch.arange(used, used + own_keys - shared, device=device)])
    parts = (
        fed[:-1],
        torch.cat([made.places, _counted(extra, positions - used)[0]]),
        _padded(made.prompt_start, sizes.prompts, positions - slots),
        _padded(made.prompt_row, sizes.prompts, sizes.rows - 1),
        _padded(made.lead_start, sizes.leads, last),
        _padded(made.predicting, sizes.tokens, last),
        _padded(tokens, sizes.tokens, 0),
        _starts(made.lengths_q, extra),
        _starts(made.lengths_k, extra),
        _padded(keys, sizes.keys, last),
    )
    lead_strand = _padded(made.lead_strand, sizes.leads, 0)
    return Packing(sizes, torch.cat(parts), lead_strand, lengths, len(tokens), recurs)


def _padded(numbers: Tensor, length: int, filler: int) -> Tensor:
    return torch.nn.functional.pad(numbers, (0, length - len(numbers)), value=filler)


def _starts(lengths: Tensor, extra: Tensor) -> Tensor:
    return torch.nn.functional.pad(torch.cat([lengths, extra]).cumsum(0), (1, 0))


def _dealt(total: int, groups: int, device: torch.device) -> Tensor:
    """`total` dealt out to so many groups, as evenly as can be."""
    return total // groups + (torch.arange(groups, device=device) < total % groups).long()


def _rounded(total: int, smallest: int) -> int:
    step = max(smallest, 1 << (total - 1).bit_length()) // (2 * _IN_AN_OCTAVE)
    return max(smallest, -(-total // step) * step)


def _power(number: int) -> int:
    return int(max(64, 1 << (number - 1).bit_length()))
