"""Item: an example made ready for a generator, and Row: one attempt at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from dcm.errors import UsageError
from dcm.example import Example
from dcm.generator import Generator
from dcm.objective import Objective
from dcm.optimizer import RowKey, State
from dcm.sending import send
from dcm.solver.state import copied
from dcm.target import Target

Measured = Mapping[str, tuple[tuple[float, ...], ...]]
"""kind -> target -> one loss a draw, in nats; NaN where the prompt and target do not fit."""


@attrs.define(eq=False)
class Item:
    """An example, its targets as token ids, and what its attempts have come to.

    Attributes:
        example: the example.
        targets: what its content has to generate.
        ids: the targets' token ids, each closed by the end-of-text token.
        baselines: baseline losses of the targets, if they were measured.
        attempts: attempts begun.
        row_steps: measurements made in all attempts.
        kept: the best attempt that has ended.
    """

    example: Example
    targets: tuple[Target, ...]
    ids: tuple[tuple[int, ...], ...]
    baselines: Measured | None = None
    attempts: int = 0
    row_steps: int = 0
    kept: Ended | None = None
    _tokens: int = attrs.field(init=False)

    @_tokens.default
    def _(self) -> int:
        return sum(map(len, self.ids))

    @classmethod
    def of(cls, example: Example, objective: Objective, generator: Generator) -> Item:
        """Make an example ready.

        Raises:
            UsageError: the objective gives it no target that is checked.
        """
        targets = objective.targets(example)
        if not any(target.checked for target in targets):
            asked = f"example {example.id!r} has no target that is checked"
            there = f"The objective {type(objective).__name__} gave {len(targets)} others"
            raise UsageError(asked, there, "An objective gives each example at least one")
        return cls(example, targets, tuple(generator.encode(target.text) for target in targets))

    def positions(self, slots: int) -> int:
        """Positions that its targets take in a model, each behind a prompt of its own."""
        return slots * len(self.ids) + self._tokens

    def reason_not_to_fit(self, slots: int, context_length: int) -> str:
        """Why prompt and targets do not fit into the model's context; empty if they do."""
        for target, ids in zip(self.targets, self.ids, strict=True):
            positions = slots + 1 + len(ids)
            if positions > context_length:
                return (
                    f"the {target.mode} has {len(ids)} tokens and needs {positions} positions "
                    f"with its {slots} slots and the mode, the model has {context_length} for them"
                )
        return ""


@attrs.define(eq=False)
class Row:
    """One attempt at an item, while it waits for a lane.

    Attributes:
        item: the item.
        key: names the attempt.
        step: how many times it has been measured.
        demand: the margin that it must reach before it is done, whatever the criterion says;
            raised when its content failed certification.
        start: [K, D] where it starts, if that was prepared.
        curve: (step, a loss in nats a target), thinned.
        cosines: at each step the cosine of its modes' gradients, if that is measured.
        parked: where it goes on; None for a row that has not begun.
    """

    item: Item
    key: RowKey
    step: int = 0
    demand: float = float("-inf")
    start: Tensor | None = None
    parked: Parked | None = None
    curve: list[tuple[int, tuple[float, ...], float]] = attrs.field(factory=list)
    cosines: list[float] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class Parked:
    """A row's tensors, without the row axis, and the best of it so far."""

    content: Tensor
    optimizer: State
    criterion: State
    best: Best

    def alone(self, best: Best) -> Parked:
        """The same, and `best`, in memory of its own."""
        return Parked(self.content.clone(), copied(self.optimizer), copied(self.criterion), best)


@attrs.frozen(eq=False)
class Best:
    """The best content measured in a row. Tensors stay on the device.

    Attributes:
        content: [K, D] float32.
        rank: what is compared, higher is better; -inf before anything finite was measured.
        step: when it was measured.
        losses: nats, a number a target.
        margin: smallest margin over the targets, in logits; positive where all are exact.
        penalty: the objective's penalty; NaN where it has none.
    """

    content: Tensor
    rank: float
    step: int
    losses: tuple[float, ...]
    margin: float
    penalty: float

    @property
    def exact(self) -> bool:
        """Every token of every target is the argmax."""
        return self.margin > 0


@attrs.frozen(eq=False)
class Ended:
    """An attempt that ended.

    Attributes:
        row: the row.
        converged: the criterion said done.
        finite: it did not end by a loss or gradient that is not finite.
        best: what is kept of it.
    """

    row: Row
    converged: bool
    finite: bool
    best: Best

    def alone(self) -> Ended:
        """The same in memory of its own; those that ended together share theirs."""
        best = attrs.evolve(self.best, content=self.best.content.clone())
        parked = self.row.parked
        if parked is not None:
            self.row.parked = parked.alone(best)
        return attrs.evolve(self, best=best)

    def better_than(self, other: Ended | None) -> bool:
        """Whether this attempt is worth more than another."""
        if other is None:
            return True
        return (self.converged, self.best.rank) > (other.converged, other.best.rank)


def embedded(
    generator: Generator, targets: Sequence[Sequence[tuple[int, ...]]]
) -> Sequence[Tensor]:
    """The texts that `Optimizer.start` gets, of the token ids of each row's targets."""
    # Without the closing tokens, which say nothing of a row.
    rows = [[token for ids in row for token in ids[:-1]] for row in targets]
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.int64)
    found = generator.embed(send(flat, generator.device))
    return torch.split(found, [len(row) for row in rows])


def losses_by_mode(
    item: Item, losses: tuple[float, ...], *, checked: bool = True
) -> Mapping[str, float]:
    """mode -> nats, the mean over the mode's targets that are checked, or those that are not."""
    found: dict[str, list[float]] = {}
    for target, loss in zip(item.targets, losses, strict=True):
        if target.checked == checked:
            found.setdefault(target.mode, []).append(loss)
    return {mode: sum(values) / len(values) for mode, values in found.items()}
