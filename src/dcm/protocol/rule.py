"""The protocol's convergence rule, applied to what was measured, and what the rule is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch

from dcm.criterion import ConvergenceCriterion, Observation
from dcm.example import Example
from dcm.generator import Generator
from dcm.memory_limit import in_parts
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.optimizer import RowKey
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.results import Curve, Result, baseline_of, loss_of
from dcm.protocol.statistics import NOTHING, Estimate, wilson
from dcm.strands import Strands

if TYPE_CHECKING:
    from torch import Tensor

VACUOUS_ABOVE = 0.05
"""A rule that calls more than this share of unoptimised contents converged is vacuous."""

_PART = 64  # examples scored at once


def judge(
    criterion: ConvergenceCriterion,
    rows: Sequence[Mapping[str, tuple[float, float, float]]],
) -> list[bool]:
    """What a criterion that compares losses says of measured losses.

    Args:
        criterion: the rule, such as `seed-rule`. It sees losses and baselines, no tokens.
        rows: for each row, mode -> (loss, random, full context) in nats; NaN where unmeasured.

    Returns:
        One verdict a row. A row without losses has not converged.
    """
    if not any(rows):
        return [False] * len(rows)
    strands = [(place, values) for place, row in enumerate(rows) for values in row.values()]
    nll, random, full_context = torch.tensor([values for _, values in strands]).T
    nothing = torch.zeros(len(strands))
    seen = Observation(
        loss=torch.zeros(len(rows)),
        row=torch.tensor([place for place, _ in strands]),
        nll=nll,
        strand_exact=nothing > 0,
        strand_margin=nothing,
        step=torch.ones(len(rows), dtype=torch.int64),
        random=random,
        full_context=full_context,
        logit_noise=0.0,
    )
    _, done = criterion.update(criterion.init(len(rows)), seen)
    return [bool(flag) and bool(row) for flag, row in zip(done.tolist(), rows, strict=True)]


def converged(criterion: ConvergenceCriterion, results: Sequence[Result]) -> list[bool]:
    """What the rule says of the losses that were measured of the saved contents."""
    return judge(criterion, [_measured(result, result["losses"]) for result in results])


def first_step(criterion: ConvergenceCriterion, result: Result, curve: Curve) -> int | None:
    """The first recorded step at which the rule held; None if it never did."""
    verdicts = judge(criterion, [_measured(result, losses) for _, losses in curve])
    return next((step for (step, _), held in zip(curve, verdicts, strict=True) if held), None)


def _measured(
    result: Result, losses: Mapping[str, float | None]
) -> dict[str, tuple[float, float, float]]:
    return {
        mode: (
            loss_of({"losses": losses}, mode),
            baseline_of(result, "random", mode),
            baseline_of(result, "full_context", mode),
        )
        for mode in losses
    }


@attrs.frozen
class FalseConvergence:
    """How often a rule calls contents converged that nobody optimised.

    Attributes:
        rate: share of (example, random content) pairs that the rule calls converged. The interval
            is Wilson's with the number of examples, as if each had one draw: draws of one example
            are not independent.
        by_mode: the same for each mode by itself.
        draws: random contents for each example, other ones than those of the baselines.
    """

    rate: Estimate
    by_mode: Mapping[str, Estimate]
    draws: int

    @property
    def vacuous(self) -> bool:
        """Whether the rule says next to nothing on this model and data."""
        return self.rate.value is not None and self.rate.value > VACUOUS_ABOVE

    def as_json(self) -> dict[str, Any]:
        """The rates, and whether the rule is vacuous."""
        return {
            **self.rate.as_json(),
            "by_mode": {mode: each.as_json() for mode, each in self.by_mode.items()},
            "draws": self.draws,
            "vacuous_above": VACUOUS_ABOVE,
            "vacuous": self.vacuous,
        }


@torch.no_grad()
def false_convergence(
    criterion: ConvergenceCriterion,
    generator: Generator,
    examples: Iterable[Example],
    objective: Objective,
    table: BaselineTable,
    modes: Modes,
    *,
    slots: int,
    draws: int,
    seed: int,
) -> FalseConvergence:
    """Apply the rule to fresh random contents, drawn as the baseline's are but not the same ones.

    Args:
        criterion: the rule.
        generator: the model.
        examples: the examples; those that the table does not have are left out.
        objective: says which targets an example has.
        table: the examples' baselines.
        modes: the mode vectors.
        slots: K.
        draws: random contents for each example.
        seed: seed of the contents, together with the example's id and the draw.
    """
    chosen = [example for example in examples if example.id in table.losses]
    rows: list[dict[str, tuple[float, float, float]]] = []
    for draw in range(draws):
        for start in range(0, len(chosen), _PART):
            rows += in_parts(
                lambda part, draw=draw: _rows(  # type: ignore[misc]
                    generator, part, objective, table, modes, slots, draw, seed
                ),
                chosen[start : start + _PART],
            )
    if not rows:
        return FalseConvergence(NOTHING, {}, draws)

    def share(of: Sequence[Mapping[str, tuple[float, float, float]]]) -> Estimate:
        return wilson(sum(judge(criterion, of)) / draws, len(chosen))

    names = list(dict.fromkeys(mode for row in rows for mode in row))
    by_mode = {mode: share([{mode: row[mode]} for row in rows if mode in row]) for mode in names}
    return FalseConvergence(share(rows), by_mode, draws)


def _rows(
    generator: Generator,
    examples: Sequence[Example],
    objective: Objective,
    table: BaselineTable,
    modes: Modes,
    slots: int,
    draw: int,
    seed: int,
) -> list[dict[str, tuple[float, float, float]]]:
    shape = (slots, generator.width)
    content: Tensor = torch.stack(
        [
            torch.randn(shape, generator=RowKey(seed, each.id, draw).random("false convergence"))
            for each in examples
        ]
    )
    targets = [(row, each) for row, ex in enumerate(examples) for each in objective.targets(ex)]
    targets = [(row, each) for row, each in targets if each.checked]
    device = generator.device
    strands = Strands(
        row=torch.tensor([row for row, _ in targets], device=device),
        lead=modes.vectors([target.mode for _, target in targets]),
        ids=[generator.encode(target.text) for _, target in targets],
        weight=torch.ones(len(targets), device=device),
        rows=len(examples),
        layout=modes.layout,
    )
    losses = generator.score((content * generator.embedding_scale).to(device), strands).nll
    rows: list[dict[str, list[float]]] = [{} for _ in examples]
    for (row, target), loss in zip(targets, losses.tolist(), strict=True):
        rows[row].setdefault(target.mode, []).append(loss)
    return [
        {
            mode: (
                sum(values) / len(values),
                table.mean(example.id, "random", mode),
                table.mean(example.id, "full_context", mode),
            )
            for mode, values in row.items()
        }
        for example, row in zip(examples, rows, strict=True)
    ]
