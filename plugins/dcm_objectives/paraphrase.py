"""The paraphrase objective: the joint one, with other wordings beside question and answer."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import attrs

from dcm import Example, Objective, Strands, Target

if TYPE_CHECKING:
    from torch import Tensor

_MARK = "_variant_"  # in the name of a variant's own mode
_ODD = -7046029254386353131  # the golden ratio of 2^64


@attrs.frozen
class Paraphrase(Objective):
    """c* = argmin_c  sum over modes of  L(text) + weight x L(its variants).

    Other wordings of the question, and of the answer, keep the content from being made for one
    wording alone: what belongs to a surface form should cancel in the gradients, what they mean
    should add up. Variants stand under the mode of their text, so that they share its prompt. A
    content cannot generate two texts under one mode, so only the text itself decides when a row
    is done, and is certified; the variants shape the content. An example without variants has the
    targets of `joint`. With `weight=1, reduce="sum"` every wording counts alike.

    Attributes:
        weight: factor of the variants' loss beside that of the text itself.
        reduce: what is made of a mode's variants: their "mean", so that they count as one text, or
            their "sum".
        weighting: how variants share that: "uniform", "softmax" gives more to those with more
            loss, "worst" all to the one with most.
        temperature: of the softmax, in units of the variants' mean loss.
        subset: how many variants of each mode count at a step, drawn anew from row and step; None
            for all. All are measured, so a step costs the same.
        most: how many of the first variants of each mode to use at most; None for all.
        modes: "shared", or "own" for a mode of its own for each variant, `question_variant_1` and
            so on. A content can generate these too, so they decide and are certified like the rest.
        question_weight: factor of the question's loss, and its variants'.
        answer_weight: factor of the answer's loss, and its variants'.
    """

    weight: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))
    reduce: Literal["mean", "sum"] = attrs.field(
        default="mean", validator=attrs.validators.in_(("mean", "sum"))
    )
    weighting: Literal["uniform", "softmax", "worst"] = attrs.field(
        default="uniform", validator=attrs.validators.in_(("uniform", "softmax", "worst"))
    )
    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    subset: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    most: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    modes: Literal["shared", "own"] = attrs.field(
        default="shared", validator=attrs.validators.in_(("shared", "own"))
    )
    question_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    answer_weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def targets(self, example: Example) -> tuple[Target, ...]:
        texts = {
            "question": (example.question, self.question_weight),
            "answer": (example.answer, self.answer_weight),
        }
        return (
            *(Target(mode, text, weight) for mode, (text, weight) in texts.items()),
            *(
                target
                for mode, (_, weight) in texts.items()
                for target in self._variants(mode, example.variants.get(mode, ()), weight)
            ),
        )

    def _variants(self, mode: str, variants: tuple[str, ...], weight: float) -> Iterator[Target]:
        variants = variants[: self.most]
        among = len(variants) if self.reduce == "mean" else 1
        own = self.modes == "own"
        for number, variant in enumerate(variants, start=1):
            name = f"{mode}{_MARK}{number}" if own else mode
            yield Target(name, variant, weight * self.weight / among, checked=own)

    @property
    def draws(self) -> bool:
        return self.subset is not None

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        weighted = strands.weight * nll
        total = nll.new_zeros(strands.rows)
        if self.weighting == "uniform" and self.subset is None:
            return total.index_add(0, strands.row, weighted)
        laid = _laid_out(strands)
        total = total.index_add(0, strands.row[laid.others], weighted[laid.others])
        for places in laid.groups:
            losses = weighted[places]
            shares = self._shares(losses.detach(), self._counting(places, strands, laid))
            # The weights are those of one of n that count alike.
            mixed = (shares * losses).sum(-1) * places.shape[1]
            total = total.index_add(0, strands.row[places[:, 0]], mixed)
        return total

    def _counting(self, places: Tensor, strands: Strands, laid: _LaidOut) -> Tensor:
        """[g, n] bool: which of g times n variants count at this step."""
        import torch

        count = places.shape[1]
        chosen = torch.ones_like(places, dtype=torch.bool)
        if self.subset is None or self.subset >= count or strands.draw is None:
            return chosen
        # The draw is mixed once more with the text, so that no order of strands matters.
        drawn = (strands.draw[strands.row[places]] ^ laid.texts[places]) * _ODD
        drawn = (drawn ^ (drawn >> 32)) * _ODD
        left_out = drawn.topk(count - self.subset, dim=-1).indices
        return chosen.scatter(-1, left_out, value=False)

    def _shares(self, losses: Tensor, counting: Tensor) -> Tensor:
        """[g, n] shares of losses [g, n], of which those count that `counting` says."""
        import torch

        if self.weighting == "uniform":
            return counting / counting.sum(-1, keepdim=True)
        least = float("-inf")
        if self.weighting == "worst":
            place = losses.masked_fill(~counting, least).argmax(-1, keepdim=True)
            return torch.zeros_like(losses).scatter(-1, place, 1.0)
        mean = losses.mean(-1, keepdim=True).clamp(min=1e-12)
        return (losses / (mean * self.temperature)).masked_fill(~counting, least).softmax(-1)


class _LaidOut(NamedTuple):
    """Which of J strands are variants.

    Attributes:
        others: [m] int64, those that are none.
        groups: [g, n] int64 each, the n variants of one text of one row; a tensor for each n.
        texts: [J] int64, a number for each strand's text.
    """

    others: Tensor
    groups: Sequence[Tensor]
    texts: Tensor


@cache
def _made() -> MutableMapping[Tensor, _LaidOut]:
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def _laid_out(strands: Strands) -> _LaidOut:
    """Made once for strands that come again step after step."""
    made = _made()
    if strands.row not in made:
        made[strands.row] = _lay_out(strands)
    return made[strands.row]


def _lay_out(strands: Strands) -> _LaidOut:
    import torch

    device = strands.row.device
    checked = [True] * len(strands) if strands.checked is None else strands.checked.tolist()
    others: list[int] = []
    variants: dict[tuple[int, str], list[int]] = {}
    owners = strands.owners or strands.row.tolist()
    for place, (row, mode) in enumerate(zip(owners, strands.modes, strict=True)):
        text, mark, _ = mode.partition(_MARK)
        if mark or not checked[place]:
            variants.setdefault((row, text), []).append(place)
        else:
            others.append(place)
    by_size: dict[int, list[list[int]]] = {}
    for places in variants.values():
        by_size.setdefault(len(places), []).append(places)
    return _LaidOut(
        torch.tensor(others, device=device, dtype=torch.int64),
        [torch.tensor(by_size[size], device=device) for size in sorted(by_size)],
        torch.tensor([hash(ids) for ids in strands.ids], device=device),
    )
