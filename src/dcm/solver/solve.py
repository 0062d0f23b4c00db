"""solve: optimise the contents of many examples, as a queue of rows over lanes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from statistics import fmean, median

from dcm.criterion import ConvergenceCriterion
from dcm.errors import UsageError
from dcm.example import Example
from dcm.fields import named
from dcm.generator import Generator
from dcm.memory_limit import is_out_of_memory, make_way, too_large
from dcm.modes import Modes
from dcm.objective import Objective
from dcm.optimizer import Optimizer, RowKey
from dcm.outcome import Outcome, Status
from dcm.solver.batch import Setup
from dcm.solver.endings import Endings, Verify
from dcm.solver.guard import ComponentError, item_of
from dcm.solver.item import Ended, Item, Row
from dcm.solver.lanes import Lanes
from dcm.solver.measured import MeasuresBaselines
from dcm.solver.outcomes import failed
from dcm.solver.room import Room
from dcm.solver.stats import Stats

# Rows made ready while the device computes, beside as many as came last.
_SPARE = 8


def solve(
    generator: Generator | str,
    examples: Iterable[Example] | str,
    *,
    objective: Objective | str | None = None,
    optimizer: Optimizer | str | None = None,
    criterion: ConvergenceCriterion | str | None = None,
    slots: int = 32,
    max_steps: int = 500,
    seed: int = 0,
    lanes: int | None = None,
    modes: Modes | None = None,
    baselines: MeasuresBaselines | None = None,
    verify: Verify | None = None,
    interference: bool = False,
    stats: Stats | None = None,
    on_step: Callable[[Stats], None] | None = None,
    on_phase: Callable[[Stats], None] | None = None,
) -> Iterator[Outcome]:
    """Optimise one content per example and give the outcomes in the order in which they finish.

    Rows, attempts at examples, wait in a queue for one of a fixed number of lanes. All rows in
    lanes are measured and moved as one batch; a row that ends leaves its lane to the next at
    once. A row's result depends on the row alone, whatever runs beside it. Examples are taken
    from their source as lanes become free, so memory stays flat. A component may be given by its
    name alone: it then has its defaults.

    Args:
        generator: the frozen model.
        examples: where examples come from; their ids name their random starts.
        objective: which targets, and how their losses combine. Default `joint`.
        optimizer: start, step and number of attempts. Default `restarts` of `adam`.
        criterion: when a row is done. Default `exact`.
        slots: K, content vectors per example.
        max_steps: most measurements of a row in one attempt.
        seed: seed of all randomness, together with example id and attempt.
        lanes: most rows at once; None begins with a few and takes as many as memory holds.
            Either way fewer are used when memory runs out.
        modes: mode vectors; default `Modes(generator)`.
        baselines: measures baseline losses first; needed by criteria that compare with them.
        verify: certifies contents before their outcomes are given out. A row that was exact and
            fails goes on with twice the margin while it has steps left.
        interference: measure at each step how far the modes' gradients agree, see
            `Outcome.cosines`. With the layout `suffix` the content is then computed once a mode.
        stats: updated as the solve goes on.
        on_step: called with the stats after every step.
        on_phase: called with the stats before baselines are measured and contents certified.

    A component that fails on an example, by raising or by a wrong shape, fails that example.

    Yields:
        One outcome per example.

    Raises:
        UsageError: an argument is out of range, the criterion needs baselines, or what is given is
            no example.
        GeneratorError: not even one row fits into memory.
    """
    for name, value in (("slots", slots), ("max_steps", max_steps), ("lanes", lanes)):
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value} was asked for", "", f"{name} must be at least 1")
    model: Generator = named("generator", generator)
    rule: ConvergenceCriterion = named("criterion", criterion or "exact")
    source = named("dataset", examples) if isinstance(examples, str) else examples
    if rule.needs_baselines and baselines is None:
        asked = f"the criterion {type(rule).__name__} compares with baseline losses"
        raise UsageError(asked, "No baselines are measured", "Pass baselines=Baselines()")
    setup = Setup(
        generator=model,
        objective=named("objective", objective or "joint"),
        optimizer=named("optimizer", optimizer or "restarts"),
        criterion=rule,
        modes=modes or Modes(model),
        slots=slots,
        max_steps=max_steps,
        interference=interference,
    )
    stats = stats if stats is not None else Stats()
    run = _Run(setup, source, seed, lanes, baselines, verify, stats, on_step, on_phase)
    return run.outcomes()


class _Run:
    """One call of `solve`."""

    def __init__(
        self,
        setup: Setup,
        examples: Iterable[Example],
        seed: int,
        lanes: int | None,
        baselines: MeasuresBaselines | None,
        verify: Verify | None,
        stats: Stats,
        on_step: Callable[[Stats], None] | None,
        on_phase: Callable[[Stats], None] | None,
    ) -> None:
        self.setup = setup
        self.source = iter(examples)
        self.seed = seed
        self.baselines = baselines
        self.stats = stats
        self.on_step, self.on_phase = on_step, on_phase
        self.lanes = Lanes(setup)
        # A CPU that computes has no time for anything else.
        self.overlaps = setup.generator.device.type == "cuda"
        self.admitted = 0
        self.room = Room(setup.generator.device, lanes)
        self.stats.lanes = self.room.lanes
        self.waiting: deque[Row] = deque()
        self.endings = Endings(setup, verify, self.waiting, self._attempt, stats, self._enter)
        self.failed: list[Outcome] = []

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            self._fill()
            yield from self._finished(self.failed)
            self.failed = []
            if len(self.lanes):
                self.endings.note(self._step())
            if not (self.overlaps and len(self.lanes)):
                self.endings.sort()
            self.stats.uncertified = len(self.endings)
            done = self.endings.outcomes(len(self.lanes))
            self.stats.uncertified = len(self.endings)
            yield from self._finished(done)
            busy = len(self.lanes) or self.waiting or self.endings
            if not (busy or self._take_examples(self.stats.lanes)):
                yield from self._finished(self.failed)
                return

    def _finished(self, outcomes: list[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            self.stats.finished += 1
            self.stats.exact += outcome.exact
            self.stats.certified += outcome.certified is True
            yield outcome

    def _fill(self) -> None:
        """Let waiting rows take the free lanes."""
        free = self.stats.lanes - len(self.lanes)
        if free > 0 and len(self.waiting) < free:
            self._take_examples(self.stats.lanes)
        room = self.room.positions - self.lanes.positions
        chosen: list[Row] = []
        while self.waiting and len(chosen) < free:
            room -= self.waiting[0].item.positions(self.setup.slots)
            # A row that is alone is tried, however long it is.
            if room < 0 and (chosen or len(self.lanes)):
                break
            chosen.append(self.waiting.popleft())
        self.admitted = len(chosen)
        self._admit(chosen)
        self.stats.active = len(self.lanes)

    def _admit(self, rows: list[Row]) -> None:
        """Put rows into lanes; of a component that fails, those alone that it fails on stay out.

        Where memory does not hold them, they wait on, perhaps for fewer lanes.
        """
        said = None
        try:
            self.lanes.admit(rows)
        except ComponentError as error:
            if len(rows) == 1:
                self._fail(rows[0].item, error)
            else:
                for row in rows:
                    self._admit([row])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = str(error)
        if said is None:
            return
        self.waiting.extendleft(reversed(rows))
        # Out of the handler, whose traceback would keep what was made alive.
        if not make_way():
            lanes, held = len(self.lanes) + len(rows) // 2, self.lanes.positions
            if not lanes:
                raise too_large(said)
            more = sum(row.item.positions(self.setup.slots) for row in rows)
            self.room.shrink(lanes, held + more // 2, failed=held + more)
            self.stats.lanes = self.room.lanes

    def _fail(self, item: Item, error: ComponentError) -> None:
        """A component failed on the item: it ends here."""
        item.kept = None
        self.failed.append(failed(item, error.reason))

    def _prepare(self) -> None:
        """While the device computes: see to those that ended before, and make rows ready."""
        wanted = self.admitted + _SPARE
        # Measuring baselines would wait for the device.
        if self.baselines is None and len(self.waiting) < wanted:
            self._take_examples(2 * wanted - len(self.waiting))
        try:
            self.endings.sort()
            self.lanes.prepare(list(islice(self.waiting, wanted)))
        except Exception as error:
            if not (is_out_of_memory(error) or isinstance(error, ComponentError)):
                raise  # else it is tried again after the step, which holds memory now

    def _take_examples(self, count: int) -> bool:
        """Make the next examples ready, at most `count`; False if there are none."""
        setup = self.setup
        examples = list(islice(self.source, max(0, count)))
        self.stats.examples += len(examples)
        items = []
        for example in examples:
            if not isinstance(example, Example):
                do = "Make examples of questions and answers by dcm.pairs"
                raise UsageError(f"an example is expected, not {example!r:.60}", "", do)
            try:
                item = item_of(example, setup.objective, setup.generator)
            except ComponentError as error:
                self.failed.append(Outcome(example, Status.FAILED, reason=error.reason))
                continue
            reason = item.reason_not_to_fit(setup.slots, setup.generator.context_length)
            if reason:
                why = f"too long for the model: {reason}"
                self.failed.append(Outcome(example, Status.FAILED, reason=why))
            else:
                items.append(item)
        if self.baselines is not None and items:
            self._enter("baselines")
            measured = self.baselines.measure(
                setup.generator, items, setup.slots, setup.modes, self.seed
            )
            for item, losses in zip(items, measured, strict=True):
                item.baselines = losses
        self.waiting.extend(self._attempt(item) for item in items)
        return bool(examples)

    def _attempt(self, item: Item) -> Row:
        """The item's next attempt."""
        item.attempts += 1
        return Row(item, RowKey(self.seed, item.example.id, item.attempts - 1))

    def _step(self) -> list[Ended]:
        """One step of all lanes, with as many of them as memory holds."""
        while True:
            count = len(self.lanes)
            try:
                with self.room.watch(count, self.lanes.positions):
                    ended = self.lanes.step(self._prepare if self.overlaps else None)
            except ComponentError:
                return self._one_by_one()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error)
            else:
                self.stats.lanes = self.room.lanes
                self.stats.row_steps += count
                self.stats.useful_row_steps += count
                self._tell(ended)
                return ended
            # Out of the handler, whose traceback would keep the step's tensors alive.
            if make_way():
                continue
            if count == 1:
                raise too_large(said)
            tried = self.lanes.positions
            self.waiting.extendleft(reversed(self.lanes.give_back(count - count // 2)))
            self.room.shrink(len(self.lanes), self.lanes.positions, tried)
            self.stats.lanes = self.room.lanes

    def _tell(self, ended: Sequence[Ended]) -> None:
        """Note how far the rows are."""
        stats, steps = self.stats, [row.step for row in self.lanes.rows]
        stats.active = len(steps)
        stats.step = round(median(steps)) if steps else stats.step
        stats.loss = median(self.lanes.losses)
        stats.exact_share = fmean(self.lanes.exact)
        stats.ended += len(ended)
        stats.ended_cubes += sum(each.row.step**3 for each in ended)
        stats.running_cubes = sum(step**3 for step in steps)
        stats.phase = "optimising"
        if self.on_step:
            self.on_step(stats)

    def _enter(self, phase: str) -> None:
        self.stats.phase = phase
        if self.on_phase:
            self.on_phase(self.stats)

    def _one_by_one(self) -> list[Ended]:
        """One step of each lane by itself: a row that makes a component fail ends alone."""
        ended: list[Ended] = []
        rest: list[Row] = []
        for row in self.lanes.give_back(len(self.lanes)):
            self.lanes.admit([row])
            try:
                ended += self.lanes.step()
            except ComponentError as error:
                self._fail(row.item, error)
                self.lanes.give_back(1)
            else:
                self.stats.row_steps += 1
                self.stats.useful_row_steps += 1
                rest += self.lanes.give_back(len(self.lanes))
        self.lanes.admit(rest)
        return ended
