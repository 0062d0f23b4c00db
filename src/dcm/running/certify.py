"""Certification: does the content on disk generate every target verbatim?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import torch

from dcm.generator import Generator
from dcm.memory_limit import in_parts
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.outcome import Outcome, Status
from dcm.running.run_directory import RunDirectory
from dcm.solver.guard import ComponentError, item_of

if TYPE_CHECKING:
    from torch import Tensor

# A text that does not end where its target does is decoded a little further, to show it.
_BEYOND = 4


@attrs.frozen(eq=False)
class Certifier:
    """Saves outcomes' contents, reads them back and decodes them greedily, free-running.

    All checked targets of all rows are decoded together with a KV cache: other kernels and
    another batch size than those that scored them.

    Attributes:
        generator: the model.
        objective: says which targets an example has.
        modes: the mode vectors.
        run: where contents are saved.
    """

    generator: Generator
    objective: Objective
    modes: Modes
    run: RunDirectory

    def __call__(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The same outcomes with `decoded` and `certified` filled in; each has a content."""
        contents = {
            outcome.example.id: outcome.content
            for outcome in outcomes
            if outcome.content is not None
        }
        self.run.save_contents(contents, self.modes.as_dict(), self.modes.layout)
        saved = self.run.load_contents([self.run.ref(outcome.example.id) for outcome in outcomes])
        return self.decode(outcomes, saved)

    def decode(self, outcomes: Sequence[Outcome], saved: Sequence[Tensor]) -> list[Outcome]:
        """The same outcomes with `decoded` and `certified` filled in.

        Args:
            outcomes: N outcomes.
            saved: N contents [K, D] float32, as they were read from disk.
        """
        jobs: list[_Job] = []
        reasons: dict[int, str] = {}
        for place, outcome in enumerate(outcomes):
            try:
                item = item_of(outcome.example, self.objective, self.generator)
            except ComponentError as error:
                reasons[place] = error.reason
                continue
            pairs = zip(item.targets, item.ids, strict=True)
            jobs += [_Job(place, target.mode, ids) for target, ids in pairs if target.checked]
        decoded = in_parts(lambda some: self._decode(some, saved), jobs)
        texts: list[dict[str, str]] = [{} for _ in outcomes]
        verbatim = [True] * len(outcomes)
        for job, text in zip(jobs, decoded, strict=True):
            texts[job.outcome].setdefault(job.mode, text)
            # What the tokenizer makes of the target is what the model could say at best.
            verbatim[job.outcome] &= text == self.generator.text(job.ids)
        found = [
            attrs.evolve(outcome, decoded=own, certified=same)
            for outcome, own, same in zip(outcomes, texts, verbatim, strict=True)
        ]
        for place, reason in reasons.items():
            found[place] = attrs.evolve(
                found[place], status=Status.FAILED, reason=reason, certified=None
            )
        return found

    def _decode(self, jobs: Sequence[_Job], contents: Sequence[Tensor]) -> list[str]:
        if not jobs:
            return []
        return self.generator.decode(
            torch.stack([contents[job.outcome] for job in jobs]).to(self.generator.device),
            self.modes.vectors([job.mode for job in jobs]),
            [len(job.ids) + _BEYOND for job in jobs],
            self.modes.layout,
        )


@attrs.frozen
class _Job:
    """One target to decode: of which outcome, under which mode, and its token ids."""

    outcome: int
    mode: str
    ids: tuple[int, ...]
