"""Lines: the sequences in which strands are scored, each shared part computed once.

A line is one sequence: a prompt of a mode vector and K content slots, and behind it the tokens of
one strand. Strands that share a prompt can stand behind one copy of it: with the layout `suffix`
the content's positions see nothing else, so that all strands of a row share them,
[c, mode, target, mode, target]; with `prefix` the strands under one mode do,
[mode, c, target, target]. A mask lets each strand see the prompt and itself, and each begins at
the position where it would stand alone, so losses and gradients are those of separate sequences.
With K = 32 and short texts that is a third fewer positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dcm.strands import Strands


def bucket(length: int) -> int:
    """The padded length of a line with `length` tokens, a function of that length alone.

    A multiple of 8, and beyond 64 of an eighth of the power of two below, so that padding stays
    under an eighth there. A strand must not be padded to its companions' length: another padded
    length changes the last bits of its loss.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


class Lines(NamedTuple):
    """n lines of F fed positions beside the content's, s strands in them, M target tokens.

    Fed are the mode vectors and the targets' tokens. Behind K slots a line has K + F positions.

    Attributes:
        rows: [n] int64, whose content each line has.
        start: how many fed positions stand before the content: 1 with `prefix`, else 0.
        fed: [n, F] int64, the token fed at each position; 0 for mode vectors and padding.
        leads: [L] int64, where mode vectors stand in the flattened [n * F] positions.
        lead_strand: [L] int64, whose mode vector each of them is.
        segment: [n, F] int64, 0 for the prompt, then which of the line's strands a position
            belongs to, -1 for padding; None where attention is causal, since every line holds a
            single strand.
        offset: [n, F] int64, places from the strand's first position; None likewise.
        line: [M] int64, the line of each target token.
        place: [M] int64, the fed position, in the flattened [n * F], that predicts the token.
        targets: [M] int64, the tokens, strand by strand.
        strands: [s] int64, which strands.
        lengths: [s] int64, how many tokens each has.
    """

    rows: Tensor
    start: int
    fed: Tensor
    leads: Tensor
    lead_strand: Tensor
    segment: Tensor | None
    offset: Tensor | None
    line: Tensor
    place: Tensor
    targets: Tensor
    strands: Tensor
    lengths: Tensor

    def predicting(self, slots: int) -> Tensor:
        """[M] int64: the positions that predict the targets, in the flattened [n * (K + F)]."""
        # Behind the content a fed position has all K slots before it. What predicts the first
        # token of a `prefix` line is fed as the mode vector, but seen at the last slot.
        return self.place + (self.line + 1) * slots

    def mask(self, slots: int, dtype: torch.dtype) -> Tensor | None:
        """[n, 1, K+F, K+F] what is added to the attention scores: 0, or the least number.

        None where attention is causal.
        """
        if self.segment is None:
            return None
        segment = self._around(self.segment.new_zeros(len(self.rows), slots), self.segment)
        seen = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
        hidden = ~torch.tril(seen)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None]

    def positions(self, slots: int) -> Tensor | None:
        """[n, K+F] int64: the position of each in a sequence of its own; None where it is that."""
        if self.offset is None:
            return None
        content = torch.arange(slots, device=self.offset.device).expand(len(self.rows), -1)
        behind = torch.arange(self.fed.shape[1], device=self.offset.device) >= self.start
        return self._around(content + self.start, self.offset + slots * behind)

    def _around(self, content: Tensor, fed: Tensor) -> Tensor:
        return torch.cat([fed[:, : self.start], content, fed[:, self.start :]], 1)

    def sequence(self, content: Tensor, lead: Tensor, embedding: torch.nn.Module) -> Tensor:
        """[n, K+F, D] what the model reads, from contents [R, K, D] and mode vectors [J, D]."""
        fed = embedding(self.fed).detach()
        leads = lead.index_select(0, self.lead_strand).to(fed.dtype)
        fed = fed.flatten(0, 1).index_copy(0, self.leads, leads).view_as(fed)
        return self._around(content.index_select(0, self.rows).to(fed.dtype), fed)


class LaidOut(NamedTuple):
    """All lines of J strands, by padded length.

    Attributes:
        groups: the lines.
        targets: [M] int64, the tokens of all groups.
        lengths: [J] int64, how many of them belong to one strand, in the order of the groups.
        place: [J] int64, where each strand stands in that order.
    """

    groups: tuple[Lines, ...]
    targets: Tensor
    lengths: Tensor
    place: Tensor


def lay_out(
    strands: Strands, most: int, *, shares: Callable[[int], bool], pads: Callable[[int], bool]
) -> LaidOut:
    """The lines of strands, by padded length, from what each line holds alone.

    Args:
        strands: what is scored.
        most: most fed positions that a line may have, K less than the model's context.
        shares: whether strands may stand behind one prompt, in a line of so many fed positions.
        pads: whether a line may be padded to so many.
    """
    chosen: dict[tuple[int, bool], list[list[int]]] = {}
    for line in _share(strands, most, shares):
        length = _fed(strands, line)
        # The padding must not reach beyond the positions that the model has.
        padded = min(bucket(length), max(most, length))
        key = (padded if pads(padded) else length, len(line) > 1)
        chosen.setdefault(key, []).append(line)
    groups = tuple(_lines(strands, *key, chosen[key]) for key in sorted(chosen))
    return LaidOut(
        groups,
        torch.cat([lines.targets for lines in groups]),
        torch.cat([lines.lengths for lines in groups]),
        torch.cat([lines.strands for lines in groups]).argsort(),
    )


def _fed(strands: Strands, line: Sequence[int]) -> int:
    """How many positions are fed for strands behind one prompt."""
    # A strand's last token is predicted and not fed, its mode vector is.
    tokens = sum(len(strands.ids[j]) for j in line)
    return tokens - (len(line) - 1 if strands.layout == "prefix" else 0)


def _share(strands: Strands, most: int, shares: Callable[[int], bool]) -> list[list[int]]:
    """Strands that share a prompt, as many behind one as the model has positions for."""
    prefix = strands.layout == "prefix"
    lines: dict[object, list[list[int]]] = {}
    rows = strands.row.tolist()
    for j, row in enumerate(rows):
        if prefix and not strands.modes:
            lines[j] = [[j]]
            continue
        behind = lines.setdefault((row, strands.modes[j]) if prefix else row, [[]])
        if sum(len(strands.ids[i]) for i in behind[-1]) + len(strands.ids[j]) > most:
            behind.append([])
        behind[-1].append(j)
    together = [line for behind in lines.values() for line in behind if line]
    found = []
    for line in together:
        if len(line) == 1 or shares(_fed(strands, line)):
            found.append(line)
        else:
            found.extend([j] for j in line)
    return found


def _lines(strands: Strands, width: int, masked: bool, chosen: Sequence[Sequence[int]]) -> Lines:
    """The lines of the strands that `chosen` says, all padded to `width`."""
    prefix = strands.layout == "prefix"
    fed: list[list[int]] = []
    segment: list[list[int]] = []
    offset: list[list[int]] = []
    leads: list[int] = []
    lead_strand: list[int] = []
    line_of: list[int] = []
    place: list[int] = []
    targets: list[int] = []
    order: list[int] = []
    for number, line in enumerate(chosen):
        start = number * width
        own, segments, offsets = ([0], [0], [0]) if prefix else ([], [], [])
        if prefix:
            leads.append(start)
            lead_strand.append(line[0])
        for count, j in enumerate(line, 1):
            ids = strands.ids[j]
            first = start + len(own)
            if prefix:
                place.append(start)
                place.extend(range(first, first + len(ids) - 1))
                own.extend(ids[:-1])
            else:
                leads.append(first)
                lead_strand.append(j)
                place.extend(range(first, first + len(ids)))
                own.extend((0, *ids[:-1]))
            length = start + len(own) - first
            segments.extend([count] * length)
            offsets.extend(range(prefix, prefix + length))
            line_of.extend([number] * len(ids))
            targets.extend(ids)
            order.append(j)
        padding = width - len(own)
        fed.append(own + [0] * padding)
        segment.append(segments + [-1] * padding)
        offset.append(offsets + [0] * padding)
    device = strands.row.device

    def tensor(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    return Lines(
        rows=strands.row.index_select(0, tensor([line[0] for line in chosen])),
        start=int(prefix),
        fed=tensor(fed),
        leads=tensor(leads),
        lead_strand=tensor(lead_strand),
        segment=tensor(segment) if masked else None,
        offset=tensor(offset) if masked else None,
        line=tensor(line_of),
        place=tensor(place),
        targets=tensor(targets),
        strands=tensor(order),
        lengths=tensor([len(strands.ids[j]) for j in order]),
    )
