"""Certification: does the content on disk generate every target verbatim?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from dcm.target import Target

if TYPE_CHECKING:
    from torch import Tensor

# A text that does not end where its target does is decoded a little further, to show it.
_BEYOND = 4


UNWRITABLE = "not what the tokenizer writes"


def unwritable(generator: Generator, target: Target) -> str:
    """Why no content can generate a target's text, whatever the model says; empty if one can.

    The tokens that a tokenizer makes of it may read back as another text: it has no word for a
    letter, takes a part for its end-of-text token, or writes all in small letters.
    """
    back = generator.text(generator.encode(target.text))
    if back == target.text:
        return ""
    return f"{UNWRITABLE}: the {target.mode} {_short(target.text)} is read back as {_short(back)}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


@attrs.frozen(eq=False)
class Certifier:
    """Saves outcomes' contents, reads them back and decodes them greedily, free-running.

    All checked targets of all rows are decoded together with a KV cache: other kernels and
    another batch size than those that scored them.

    Attributes:
        generator: the model.
        objective: says which targets an example has.
        modes: the mode vectors.
        run: where contents are saved; None where another process saves them, which sees to it
            that they can be read back as they were decoded.
    """

    generator: Generator
    objective: Objective
    modes: Modes
    run: RunDirectory | None

    def __call__(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The same outcomes with `decoded` and `certified` filled in; each has a content."""
        contents = {
            outcome.example.id: outcome.content
            for outcome in outcomes
            if outcome.content is not None
        }
        own = [contents[outcome.example.id] for outcome in outcomes]
        run = self.run
        if run is None:
            return self.decode(outcomes, own)

        def kept() -> list[Tensor]:
            run.save_contents(contents, self.modes.as_dict(), self.modes.layout)
            return run.load_contents([run.ref(outcome.example.id) for outcome in outcomes])

        # While a GPU decodes, the disk takes them and gives them back: what it gives back is what
        # was decoded, or is decoded in its place.
        with ThreadPoolExecutor(1, "dcm-save") as aside:
            there = aside.submit(kept)
            found = self.decode(outcomes, own)
            saved = there.result()
        return found if all(map(torch.equal, saved, own)) else self.decode(outcomes, saved)

    def decode(self, outcomes: Sequence[Outcome], contents: Sequence[Tensor]) -> list[Outcome]:
        """The same outcomes with `decoded` and `certified` filled in.

        Args:
            outcomes: N outcomes.
            contents: theirs, N of [K, D] float32.
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
            jobs += [_Job(place, target, ids) for target, ids in pairs if target.checked]
        decoded = in_parts(lambda some: self._decode(some, contents), jobs)
        texts: list[dict[str, str]] = [{} for _ in outcomes]
        verbatim = [True] * len(outcomes)
        for job, text in zip(jobs, decoded, strict=True):
            texts[job.outcome].setdefault(job.target.mode, text)
            verbatim[job.outcome] &= text == job.target.text
        found = [
            attrs.evolve(
                outcome,
                decoded=own,
                certified=same,
                reason=outcome.reason or ("" if same else self._unwritable(outcome)),
            )
            for outcome, own, same in zip(outcomes, texts, verbatim, strict=True)
        ]
        for place, reason in reasons.items():
            found[place] = attrs.evolve(
                found[place], status=Status.FAILED, reason=reason, certified=None
            )
        return found

    def _unwritable(self, outcome: Outcome) -> str:
        targets = self.objective.targets(outcome.example)
        return next(filter(None, (unwritable(self.generator, each) for each in targets)), "")

    def _decode(self, jobs: Sequence[_Job], contents: Sequence[Tensor]) -> list[str]:
        if not jobs:
            return []
        # Once each, however many texts a content has.
        number = {place: n for n, place in enumerate(dict.fromkeys(job.outcome for job in jobs))}
        own = torch.stack([contents[place] for place in number]).to(self.generator.device)
        index = torch.tensor([number[job.outcome] for job in jobs], device=own.device)
        return self.generator.decode(
            own[index],
            self.modes.vectors([job.target.mode for job in jobs]),
            [len(job.ids) + _BEYOND for job in jobs],
            self.modes.layout,
        )


@attrs.frozen
class _Job:
    """One target to decode, of which outcome, and its token ids."""

    outcome: int
    target: Target
    ids: tuple[int, ...]
