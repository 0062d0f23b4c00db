"""Lanes: the rows that are being optimised now, as one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import attrs
import torch
from torch import Tensor

from dcm.criterion import Observation
from dcm.optimizer import State
from dcm.sending import send
from dcm.solver import guard
from dcm.solver.apart import ModesApart, mean_cosine, mixed
from dcm.solver.batch import Batch, Setup
from dcm.solver.item import Best, Ended, Parked, Row, embedded
from dcm.solver.state import one, stack
from dcm.strands import Strands, StrandScores

# Added to the margin of an exact content, so that it ranks above all that are not exact.
_EXACT = 1000.0


class Lanes:
    """A batch of rows that steps as one and whose rows come and go one by one.

    Attributes:
        rows: the rows.
        losses: the objective's loss of each row that the last step measured, nats.
        exact: for each of them 1.0 if it was exact, else 0.0.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.rows: list[Row] = []
        self.losses: list[float] = []
        self.exact: list[float] = []
        self._batch: Batch | None = None
        self._strands: Strands | None = None
        self._apart: ModesApart | None = None
        self._numbers = torch.empty(0)
        self._random = self._full_context = torch.empty(0)
        # Nothing but a criterion reads them.
        self._compares = setup.criterion.needs_baselines
        self._first: list[int] = [0]
        self._marks = _curve_marks(setup.max_steps)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> int:
        """Positions that the rows take in a model."""
        return sum(row.item.positions(self.setup.slots) for row in self.rows)

    def admit(self, rows: Sequence[Row]) -> None:
        """Put rows into free lanes.

        Raises:
            torch.OutOfMemoryError: nothing has changed, fewer rows may find room.
            ComponentError: some row, or all, made a component fail; no row was put in.
        """
        if not rows:
            return
        fresh = [row for row in rows if row.parked is None]
        parked = [row for row in rows if row.parked is not None]
        begun = [self._start(fresh)] if fresh else []  # whatever can fail comes first
        begun += [self._resume(parked)] if parked else []
        batch = self._batch
        for new in begun:
            batch = new if batch is None else batch.join(new)
        self._batch = batch
        for row in rows:
            row.parked = row.start = None
        self.rows += [*fresh, *parked]
        self._changed()

    def prepare(self, rows: Sequence[Row]) -> None:
        """Let rows that will come know where they start."""
        missing = [row for row in rows if row.start is None and row.parked is None]
        if missing:
            setup = self.setup
            texts = embedded(setup.generator, [row.item.ids for row in missing])
            keys = [row.key for row in missing]
            start = guard.start(setup.optimizer, keys, setup.space, texts)
            for row, own in zip(missing, start, strict=True):
                row.start = own

    def step(self, meanwhile: Callable[[], None] | None = None) -> list[Ended]:
        """Measure every row once, take out those that end, and move the others one step.

        Args:
            meanwhile: called when the device has its work and before anything is read from it.

        Raises:
            torch.OutOfMemoryError: nothing has changed, fewer rows may succeed.
            ComponentError: nothing has changed; some row, or all, made a component fail.
        """
        setup, batch = self.setup, self._batch
        if batch is None:
            return []
        strands = self._strands = self._strands or self._lay_out()
        content = batch.content.detach().requires_grad_()
        if setup.apart:
            apart = self._apart = self._apart or ModesApart.of(strands)
            leaf = apart.spread(content)
            scores = setup.generator.score(leaf, apart.strands)
        else:
            leaf = content
            scores = setup.generator.score(content, strands)
        drawn = strands
        if setup.objective.draws:
            drawn = attrs.evolve(strands, draw=mixed(self._numbers, batch.step))
        loss, penalty = guard.row_losses(setup.objective, scores.nll, drawn, content)
        # The sum, not the mean: a row's gradient must not depend on how many there are.
        wanted = [leaf] if leaf is content else [leaf, content]
        gradient, *of_penalty = torch.autograd.grad(
            loss.sum(), wanted, allow_unused=leaf is not content
        )
        if meanwhile is not None:
            meanwhile()
        with torch.no_grad():
            cosine = None
            if setup.apart:
                gradients = apart.gather(gradient)
                cosine = mean_cosine(gradients) if setup.interference else None
                gradient = setup.objective.combine(gradients)
                for each in of_penalty:
                    gradient = gradient if each is None else gradient + each
            return self._advance(batch, strands, gradient, loss.detach(), penalty, scores, cosine)

    def _advance(
        self,
        batch: Batch,
        strands: Strands,
        gradient: Tensor,
        loss: Tensor,
        penalty: Tensor | None,
        scores: StrandScores,
        cosine: Tensor | None,
    ) -> list[Ended]:
        setup, nll = self.setup, scores.nll.detach()
        step = batch.step + 1
        seen = Observation(
            loss=loss,
            row=strands.row,
            nll=nll,
            strand_exact=scores.exact,
            strand_margin=scores.margin,
            step=step,
            random=self._random,
            full_context=self._full_context,
            logit_noise=setup.generator.logit_noise,
            penalty=penalty,
            checked=strands.checked,
        )
        criterion, done = guard.update(setup.criterion, batch.criterion, seen)
        finite = loss.isfinite() & gradient.isfinite().flatten(1).all(1)
        # Only rows whose content failed certification have a demand.
        met = batch.demand.isneginf() | (seen.exact & (seen.margin >= batch.demand))
        done = done & met & loss.isfinite()
        rank = torch.where(seen.exact, _EXACT + seen.margin, -loss)
        if penalty is None:
            penalty = torch.full_like(loss, math.nan)
        else:
            # Among contents that are safe to decode the smallest penalty is the best.
            safe = seen.exact & (seen.margin >= batch.demand.clamp(min=seen.logit_noise))
            rank = torch.where(safe, 2 * _EXACT - penalty, rank)
        better = (rank > batch.best_rank) | done
        batch = attrs.evolve(
            batch,
            criterion=criterion,
            step=step,
            best_content=torch.where(better[:, None, None], batch.content, batch.best_content),
            best_rank=torch.where(better, rank, batch.best_rank),
            best_step=torch.where(better, step, batch.best_step),
            best_nll=torch.where(better[strands.row], nll, batch.best_nll),
            best_margin=torch.where(better, seen.margin, batch.best_margin),
            best_penalty=torch.where(better, penalty, batch.best_penalty),
        )
        # The one transfer of the step.
        of_rows = [done.float(), finite.float(), seen.exact.float(), loss, penalty]
        told = [*of_rows, nll, *([] if cosine is None else [cosine])]
        read = torch.cat(told).tolist()
        bounds = [0, *accumulate(map(len, told))]
        parts = [read[first:stop] for first, stop in pairwise(bounds)]
        ends, fine, self.exact, self.losses, *rest = parts
        return self._end_and_move(batch, gradient, ends, fine, *rest)

    def _end_and_move(
        self,
        batch: Batch,
        gradient: Tensor,
        done: list[float],
        finite: list[float],
        penalties: list[float],
        nll: list[float],
        cosine: Sequence[float] = (),
    ) -> list[Ended]:
        last = self.setup.max_steps - 1
        over = [
            bool(done[place]) or not finite[place] or row.step >= last
            for place, row in enumerate(self.rows)
        ]
        leaving = [place for place, ends in enumerate(over) if ends]
        staying = [place for place, ends in enumerate(over) if not ends]
        # All that takes memory comes before anything changes, so that no row is lost without it.
        parked = self._park(batch, leaving)
        rest = self._move(batch, gradient, staying)
        for place, row in enumerate(self.rows):
            row.step += 1
            row.item.row_steps += 1
            row.cosines.extend(cosine[place : place + 1])
            if over[place] or self._marks[row.step]:
                first, stop = self._first[place], self._first[place + 1]
                row.curve.append((row.step, tuple(nll[first:stop]), penalties[place]))
        ended = []
        for place, row_parked in zip(leaving, parked, strict=True):
            row = self.rows[place]
            row.parked = row_parked
            ended.append(Ended(row, bool(done[place]), bool(finite[place]), row_parked.best))
        self._batch = rest
        if leaving:
            self.rows = [self.rows[place] for place in staying]
            self._changed()
        return ended

    def give_back(self, count: int) -> list[Row]:
        """Take the last `count` rows out, parked, to go on later as if nothing had happened."""
        if self._batch is None:
            return []
        kept = len(self.rows) - count
        rows = self.rows[kept:]
        parked = self._park(self._batch, list(range(kept, len(self.rows))))
        self._batch = self._select(self._batch, list(range(kept)))
        for row, row_parked in zip(rows, parked, strict=True):
            row.parked = row_parked
        self.rows = self.rows[:kept]
        self._changed()
        return rows

    def _move(self, batch: Batch, gradient: Tensor, places: list[int]) -> Batch | None:
        """The rows at `places`, one step on."""
        rest = self._select(batch, places)
        if rest is None:
            return None
        if rest is not batch:
            gradient = gradient.index_select(0, send(torch.tensor(places), gradient.device))
        optimizer = self.setup.optimizer
        content, state = guard.step(optimizer, rest.content, gradient, rest.optimizer)
        return attrs.evolve(rest, content=content, optimizer=state)

    def _select(self, batch: Batch, places: list[int]) -> Batch | None:
        """The rows at `places` alone."""
        if not places or len(places) == len(self.rows):
            return batch if places else None
        return self._part(batch, places)

    def _part(self, batch: Batch, places: list[int]) -> Batch:
        """A copy of the rows at `places`."""
        device = batch.content.device
        strands = [s for p in places for s in range(self._first[p], self._first[p + 1])]
        both = send(torch.tensor([*places, *strands]), device)
        return batch.rows(both[: len(places)], both[len(places) :])

    def _park(self, batch: Batch, places: list[int]) -> list[Parked]:
        """The tensors of the rows at `places`, in one copy of them all."""
        if not places:
            return []
        # Copied together: a copy for each row and tensor would keep a GPU waiting.
        part = self._part(batch, places)
        of_rows = [part.best_rank, part.best_margin, part.best_step.float(), part.best_penalty]
        read = torch.cat([torch.stack(of_rows, 1).flatten(), part.best_nll]).tolist()
        losses = iter(read[4 * len(places) :])
        parked = []
        for number, place in enumerate(places):
            rank, margin, step, penalty = read[4 * number : 4 * number + 4]
            count = self._first[place + 1] - self._first[place]
            own = tuple(next(losses) for _ in range(count))
            best = Best(part.best_content[number], rank, int(step), own, margin, penalty)
            optimizer, criterion = one(part.optimizer, number), one(part.criterion, number)
            parked.append(Parked(part.content[number], optimizer, criterion, best))
        return parked

    def _start(self, rows: list[Row]) -> Batch:
        self.prepare(rows)
        content = torch.stack([row.start for row in rows if row.start is not None])
        nothing = [
            Best(each, -math.inf, 0, (math.nan,) * len(row.item.ids), -math.inf, math.nan)
            for row, each in zip(rows, content, strict=True)
        ]
        optimizer = guard.optimizer_state(self.setup.optimizer, content, self.setup.space)
        criterion = guard.criterion_state(self.setup.criterion, len(rows), content.device)
        return self._assemble(rows, content, optimizer, criterion, nothing)

    def _resume(self, rows: list[Row]) -> Batch:
        parked = [row.parked for row in rows if row.parked is not None]
        return self._assemble(
            rows,
            torch.stack([each.content for each in parked]),
            stack([each.optimizer for each in parked]),
            stack([each.criterion for each in parked]),
            [each.best for each in parked],
        )

    def _assemble(
        self,
        rows: list[Row],
        content: Tensor,
        optimizer: State,
        criterion: State,
        best: list[Best],
    ) -> Batch:
        device = content.device
        return Batch(
            content=content,
            optimizer=optimizer,
            criterion=criterion,
            best_content=torch.stack([each.content for each in best]),
            best_rank=send(torch.tensor([each.rank for each in best]), device),
            best_step=send(torch.tensor([each.step for each in best]), device),
            best_nll=send(torch.tensor([loss for each in best for loss in each.losses]), device),
            best_margin=send(torch.tensor([each.margin for each in best]), device),
            best_penalty=send(torch.tensor([each.penalty for each in best]), device),
            step=send(torch.tensor([row.step for row in rows]), device),
            demand=send(torch.tensor([row.demand for row in rows]), device),
        )

    def _changed(self) -> None:
        """Other rows are here now."""
        self._strands = self._apart = None
        self._first = [0, *accumulate(len(row.item.ids) for row in self.rows)]

    def _lay_out(self) -> Strands:
        """The strands of the rows that are here now, and their baselines."""
        setup, device = self.setup, self.setup.generator.device
        items = [row.item for row in self.rows]
        targets = [target for item in items for target in item.targets]
        modes = [target.mode for target in targets]
        owner = [place for place, item in enumerate(items) for _ in item.targets]
        self._random = self._baseline("random")
        self._full_context = self._baseline("full_context")
        if setup.objective.draws:
            numbers = [row.key.number("loss") for row in self.rows]
            self._numbers = send(torch.tensor(numbers), device)
        checked = [target.checked for target in targets]
        return Strands(
            row=send(torch.tensor(owner), device),
            lead=setup.modes.vectors(modes),
            ids=[ids for item in items for ids in item.ids],
            weight=send(torch.tensor([target.weight for target in targets]), device),
            rows=len(items),
            layout=setup.modes.layout,
            temperature=setup.optimizer.temperature(setup.slots),
            modes=modes,
            owners=owner,
            checked=None if all(checked) else send(torch.tensor(checked), device),
        )

    def _baseline(self, kind: str) -> Tensor:
        """[J] the mean baseline loss of each strand; NaN where it was not measured."""
        device = self.setup.generator.device
        if not self._compares:
            return torch.full((self._first[-1],), math.nan, device=device)
        values: list[float] = []
        for row in self.rows:
            measured = row.item.baselines
            if measured is None:
                values.extend([math.nan] * len(row.item.ids))
            else:
                values.extend(sum(draws) / len(draws) for draws in measured[kind])
        return send(torch.tensor(values), device)


def _curve_marks(max_steps: int) -> list[bool]:
    """Which steps a curve keeps: the first 16, and then each 5 % later than the last."""
    marks, last = [False] * (max_steps + 1), 0
    for step in range(1, max_steps + 1):
        if step <= 16 or step >= last * 1.05:
            marks[step], last = True, step
    return marks
