"""Setup and Batch: what the rows in lanes share, and their tensors."""

from __future__ import annotations

import attrs
from torch import Tensor

from dcm.criterion import ConvergenceCriterion
from dcm.generator import Generator
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.optimizer import Optimizer, Space, State
from dcm.solver.state import join, take


@attrs.frozen(eq=False)
class Setup:
    """What all rows of a solve share."""

    generator: Generator
    objective: Objective
    optimizer: Optimizer
    criterion: ConvergenceCriterion
    modes: Modes
    slots: int
    max_steps: int
    interference: bool = False

    @property
    def apart(self) -> bool:
        """Whether the gradients of a row's modes are wanted one by one."""
        return self.interference or self.objective.combines

    @property
    def space(self) -> Space:
        generator = self.generator
        scale = generator.embedding_scale
        return Space(self.slots, generator.width, scale, generator.device)


@attrs.frozen(eq=False)
class Batch:
    """The tensors of R rows with J strands; every one but the strands' has R as first axis."""

    content: Tensor
    optimizer: State
    criterion: State
    best_content: Tensor
    best_rank: Tensor
    best_step: Tensor
    best_nll: Tensor  # [J]
    best_margin: Tensor
    best_penalty: Tensor
    step: Tensor
    demand: Tensor

    def rows(self, rows: Tensor, strands: Tensor) -> Batch:
        """Some of the rows, and their strands."""
        kept = {
            field.name: take(getattr(self, field.name), rows)
            for field in attrs.fields(Batch)
            if field.name != "best_nll"
        }
        return Batch(**kept, best_nll=self.best_nll.index_select(0, strands))

    def join(self, other: Batch) -> Batch:
        """These rows and then those of another batch."""
        return Batch(
            **{
                field.name: join(getattr(self, field.name), getattr(other, field.name))
                for field in attrs.fields(Batch)
            }
        )
