"""Adding: optimising, certifying and writing items; a run written anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from dcm.errors import UsageError
from dcm.example import Example
from dcm.generator import Generator
from dcm.memory.contents import Kept, pack, unpack
from dcm.memory.rounding import FromKept, Rounded
from dcm.memory_limit import in_parts
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.outcome import Outcome
from dcm.running.fingerprints import of_example
from dcm.running.run_directory import RunDirectory
from dcm.running.summary import result_line
from dcm.serial import build
from dcm.solver import solve
from dcm.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.memory.item import MemoryItem
    from dcm.memory.memory import Memory
    from dcm.optimizer import Optimizer
    from dcm.strands import Strands

# Items that are copied into one shard.
_SHARD = 256

# A text that does not end where it should is decoded a little further, to show it.
_BEYOND = 4


@attrs.frozen
class Added:
    """What was written.

    Attributes:
        memory: the memory with what was written, opened anew.
        items: how many items were written.
        certified: how many of them generate their texts verbatim, as they are kept.
        optimised: how many needed more than one measurement.
        bytes: what their contents take.
        tokens: tokens of their texts, closing tokens included.
        slots: K -> how many items.
    """

    memory: Memory
    items: int
    certified: int
    optimised: int
    bytes: int
    tokens: int
    slots: Mapping[int, int]


def add(
    memory: Memory,
    examples: Iterable[Example],
    *,
    slots: int | Sequence[int] | None,
    kept: Kept,
    max_steps: int | None,
) -> Added:
    """See `Memory.add`."""
    if len(memory.paths) > 1:
        asked = f"items were to be added to {len(memory.paths)} runs"
        raise UsageError(asked, "", "Open the one that they belong to, or merge the runs first")
    experiment = memory.experiments[0]
    ladder = _ladder(experiment["slots"] if slots is None else slots)
    waiting = list(_new(memory, examples))
    with RunDirectory.resume(memory.paths[0], experiment) as run:
        writer = _Writer(memory, run, build(experiment["objective"]), kept)
        for count in ladder:
            optimizer = build(experiment["optimizer"])
            steps = max_steps or experiment["max_steps"]
            left = writer.write(waiting, optimizer, count, steps, every=count == ladder[-1])
            waiting = [example for example in waiting if example.id in left]
    return writer.report(memory.paths[0])


def convert(memory: Memory, directory: Path, kept: Kept) -> Added:
    """See `Memory.convert`."""
    experiment = memory.experiments[0]
    objective = _Stored(build(experiment["objective"]))
    slots = {place: memory.numbered(place).slots for place in memory.places}
    with RunDirectory.create(directory, _description(experiment)) as run:
        writer = _Writer(memory, run, objective, kept)
        for count, group in groupby(sorted(slots, key=slots.__getitem__), key=slots.__getitem__):
            examples = (_example(memory.numbered(place)) for place in group)
            optimizer = FromKept(build(experiment["optimizer"]), lambda each: memory[each].content)
            writer.write(examples, optimizer, count, experiment["max_steps"], every=True)
    return writer.report(directory)


def merge(memory: Memory, directory: Path) -> Memory:
    """See `Memory.merge`."""
    with RunDirectory.create(directory, _description(memory.experiments[0])) as run:
        items = (memory.numbered(place) for place in memory.places)
        for layout, group in groupby(items, key=lambda item: item.layout):
            for some in _in_groups(group, _SHARD):
                # Every mode that one of them knows; the vectors of a model's modes are the same.
                modes = {
                    mode: vector
                    for item in some
                    for mode in item.line["losses"]
                    if (vector := item.mode_vector(mode)) is not None
                }
                run.save_contents({item.id: item.packed for item in some}, modes, layout)
                for item in some:
                    run.append({**item.line, "content": run.ref(item.id)})
    return type(memory)([directory], memory.given)


class _Writer:
    """Optimises examples and writes those that are done into a run."""

    def __init__(self, memory: Memory, run: RunDirectory, objective: Objective, kept: Kept) -> None:
        experiment = memory.experiments[0]
        self.memory, self.run, self.objective, self.kept = memory, run, objective, kept
        self.generator: Generator = memory.generator
        self.modes = Modes(
            self.generator, "suffix" if experiment.get("layout") == "suffix" else "prefix"
        )
        self.criterion = build(experiment["criterion"])
        self.seed = int(experiment.get("seed", 0))
        self.items = self.certified = self.optimised = self.bytes = self.tokens = 0
        self.slots: dict[int, int] = {}

    def write(
        self,
        examples: Iterable[Example],
        optimizer: Optimizer,
        slots: int,
        max_steps: int,
        *,
        every: bool,
    ) -> set[str]:
        """Optimise examples; the ids of those that were not written.

        Args:
            every: write the best content of those that do not certify too.
        """
        rounded = self.kept != "float32"
        left = set()
        for outcome in solve(
            Rounded(self.generator, self.kept) if rounded else self.generator,
            examples,
            objective=self.objective,
            optimizer=optimizer,
            criterion=self.criterion,
            slots=slots,
            max_steps=max_steps,
            seed=self.seed,
            modes=self.modes,
            verify=self._verify,
        ):
            if outcome.certified or every:
                self._append(outcome)
            else:
                left.add(outcome.example.id)
        return left

    def report(self, path: Path) -> Added:
        """What was written so far."""
        return Added(
            memory=type(self.memory)([path], self.memory.given),
            items=self.items,
            certified=self.certified,
            optimised=self.optimised,
            bytes=self.bytes,
            tokens=self.tokens,
            slots=dict(sorted(self.slots.items())),
        )

    def _append(self, outcome: Outcome) -> None:
        result = {**result_line(outcome, {}), "example": of_example(outcome.example)}
        if outcome.content is not None:
            result["content"] = self.run.ref(outcome.example.id)
            packed = pack(outcome.content, self.kept)
            self.bytes += packed.numel() * packed.element_size()
            self.slots[len(packed)] = self.slots.get(len(packed), 0) + 1
        self.run.append(result)
        self.items += 1
        self.certified += outcome.certified is True
        self.optimised += outcome.row_steps > 1
        for target in self.objective.targets(outcome.example):
            self.tokens += len(self.generator.encode(target.text))

    def _verify(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save contents as they will be kept, read them back and decode them."""
        contents = {
            each.example.id: pack(each.content, self.kept)
            for each in outcomes
            if each.content is not None
        }
        self.run.save_contents(contents, self.modes.as_dict(), self.modes.layout)
        saved = self.run.load_contents([self.run.ref(key) for key in contents])
        read = dict(zip(contents, map(unpack, saved), strict=True))
        return [self._verified(each, read) for each in self._decoded(outcomes, read)]

    def _verified(self, outcome: Outcome, read: Mapping[str, Tensor]) -> Outcome:
        wanted: dict[str, str] = {}
        for target in self.objective.targets(outcome.example):
            if target.checked:
                wanted.setdefault(target.mode, target.text)
        same = all(outcome.decoded.get(mode) == text for mode, text in wanted.items())
        return attrs.evolve(outcome, certified=same)

    def _decoded(self, outcomes: Sequence[Outcome], read: Mapping[str, Tensor]) -> list[Outcome]:
        jobs = [
            (outcome.example.id, target.mode, len(self.generator.encode(target.text)) + _BEYOND)
            for outcome in outcomes
            for target in self.objective.targets(outcome.example)
            if target.checked
        ]

        def decode(some: Sequence[tuple[str, str, int]]) -> list[str]:
            return self.generator.decode(
                torch.stack([read[each] for each, _, _ in some]).to(self.generator.device),
                self.modes.vectors([mode for _, mode, _ in some]),
                [most for _, _, most in some],
                self.modes.layout,
            )

        texts: dict[str, dict[str, str]] = {}
        for (each, mode, _), text in zip(jobs, in_parts(decode, jobs), strict=True):
            texts.setdefault(each, {}).setdefault(mode, text)
        return [attrs.evolve(each, decoded=texts[each.example.id]) for each in outcomes]


@attrs.frozen
class _Stored(Objective):
    """The texts that a kept content generates, in place of an example's."""

    inner: Objective

    def targets(self, example: Example) -> tuple[Target, ...]:
        return tuple(Target(mode, text) for mode, text in example.metadata["texts"].items())

    @property
    def draws(self) -> bool:
        return self.inner.draws

    @property
    def combines(self) -> bool:
        return self.inner.combines

    def combine(self, gradients: Tensor) -> Tensor:
        return self.inner.combine(gradients)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return self.inner.loss(nll, strands)

    def penalty(self, content: Tensor) -> Tensor | None:
        return self.inner.penalty(content)


def _example(item: MemoryItem) -> Example:
    modes = item.line["losses"]
    texts = {mode: item.texts[mode] for mode in modes if item.texts.get(mode)}
    line = item.line
    return Example(item.id, line["question"], line["answer"], metadata={"texts": texts})


def _new(memory: Memory, examples: Iterable[Example]) -> Iterator[Example]:
    """The examples that the memory does not have.

    Raises:
        UsageError: an id belongs to other texts, or comes twice.
    """
    seen = set()
    for example in examples:
        if example.id in seen:
            raise UsageError(f"the id {example.id!r} comes twice", "", "Ids must differ")
        seen.add(example.id)
        if example.id in memory.removed:
            asked = f"item {example.id!r} was to be added"
            there = "One of that id was removed, and its line is still in the run"
            raise UsageError(asked, there, "Give it another id, or merge into a new run first")
        if example.id not in memory:
            yield example
            continue
        line = memory[example.id].line
        if (line["question"], line["answer"]) != (example.question, example.answer):
            asked = f"item {example.id!r} was to be added"
            there = f"The memory has it with the question {line['question']!r:.80}"
            raise UsageError(asked, there, "Give it another id")


def _ladder(slots: int | Sequence[int]) -> list[int]:
    ladder = [slots] if isinstance(slots, int) else list(slots)
    if not ladder or ladder != sorted(set(ladder)) or ladder[0] < 1:
        asked = f"slots = {slots!r} was asked for"
        raise UsageError(asked, "", "Give one number of at least 1, or several that ascend")
    return ladder


def _description(experiment: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in experiment.items() if key != "fingerprints"}


def _in_groups(items: Iterable[MemoryItem], count: int) -> Iterator[list[MemoryItem]]:
    group: list[MemoryItem] = []
    for item in items:
        group.append(item)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group
