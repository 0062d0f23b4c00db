"""What a convergence criterion promises."""

from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dcm.criterion import AllOf, AnyOf, ConvergenceCriterion, Observation
from dcm.optimizer import State
from dcm.plugins import Plugins
from dcm.serial import build, describe
from dcm.solver.state import join, over, take
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.contracts.optimizer import lengths, same
from dcm.testing.strategies import observations


@attrs.frozen
class _Says(ConvergenceCriterion):
    """Says always the same.

    Attributes:
        verdict: what it says.
    """

    verdict: bool

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return ()

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state, torch.full_like(seen.loss, self.verdict, dtype=torch.bool)


class CriterionContract(ComponentContract):
    """Verdicts on rows that depend on what was seen of the row alone, and on no hidden state."""

    kind = "criterion"

    @pytest.fixture
    def criterion(self) -> ConvergenceCriterion:
        raise NotImplementedError("override the fixture `criterion`")

    @pytest.fixture
    def component(self, criterion: ConvergenceCriterion) -> ConvergenceCriterion:
        return criterion

    @FEW
    @given(seen=observations())
    def test_there_is_one_verdict_a_row(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        for verdict in _verdicts(criterion, seen):
            assert verdict.shape == seen[0].loss.shape
            assert verdict.dtype == torch.bool

    @FEW
    @given(seen=observations())
    def test_states_have_the_row_as_first_axis(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        state = criterion.init(_rows(seen), torch.device("cpu"))
        assert set(lengths(state)) <= {_rows(seen)}
        for each in seen:
            state, _ = criterion.update(state, each)
            assert set(lengths(state)) <= {_rows(seen)}

    @FEW
    @given(seen=observations())
    def test_an_update_leaves_its_state_as_it_is(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        state = criterion.init(_rows(seen))
        for each in seen:
            before = over(torch.clone, state)
            new, _ = criterion.update(state, each)
            assert same(state, before)
            state = new

    @FEW
    @given(seen=observations())
    def test_it_remembers_nothing_itself(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        first = _verdicts(criterion, seen)
        assert same(_verdicts(criterion, seen), first)

    @FEW
    @given(seen=observations())
    def test_a_verdict_depends_on_its_row_alone(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        together = _verdicts(criterion, seen)
        for row in range(_rows(seen)):
            alone = _verdicts(criterion, [_taken(each, [row]) for each in seen])
            assert [bool(each) for each in alone] == [bool(each[row]) for each in together]
            hidden = _verdicts(criterion, [_hidden(each, row) for each in seen])
            assert [bool(each[row]) for each in hidden] == [bool(each[row]) for each in together]

    @FEW
    @given(seen=observations(), data=st.data())
    def test_rows_can_be_taken_out_and_put_together(
        self, criterion: ConvergenceCriterion, seen: list[Observation], data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(_rows(seen))))
        cut = data.draw(st.integers(0, len(order) - 1))
        state = criterion.init(_rows(seen))
        for each in seen:
            state, _ = criterion.update(state, each)
        rows = torch.tensor(order)
        moved = join(take(state, rows[:cut]), take(state, rows[cut:])) if cut else take(state, rows)
        expected = take(criterion.update(state, seen[-1]), rows)
        assert same(criterion.update(moved, _taken(seen[-1], order)), expected)

    @FEW
    @given(seen=observations())
    def test_it_says_whether_it_needs_baselines(
        self, criterion: ConvergenceCriterion, seen: list[Observation]
    ) -> None:
        nothing = torch.full_like(seen[0].nll, torch.nan)
        without = [attrs.evolve(each, random=nothing, full_context=nothing) for each in seen]
        verdicts = _verdicts(criterion, without)  # which must not raise in any case
        if not criterion.needs_baselines:
            assert same(verdicts, _verdicts(criterion, seen))

    @FEW
    @given(seen=observations())
    def test_it_composes(self, criterion: ConvergenceCriterion, seen: list[Observation]) -> None:
        alone = _verdicts(criterion, seen)
        yes, no = ([torch.full_like(each, says) for each in alone] for says in (True, False))
        for composed, expected in (
            (criterion | _Says(verdict=False), alone),
            (_Says(verdict=False) | criterion, alone),
            (criterion | _Says(verdict=True), yes),
            (criterion & _Says(verdict=True), alone),
            (_Says(verdict=True) & criterion, alone),
            (criterion & _Says(verdict=False), no),
        ):
            assert composed.needs_baselines == criterion.needs_baselines
            assert same(_verdicts(composed, seen), expected)

    def test_what_it_composes_has_a_serial_form(
        self, criterion: ConvergenceCriterion, plugins: Plugins
    ) -> None:
        for composed in (criterion | criterion, criterion & (criterion | criterion)):
            assert isinstance(composed, AnyOf | AllOf)
            assert build(describe(composed, plugins), plugins) == composed


def _rows(seen: list[Observation]) -> int:
    return len(seen[0].loss)


def _verdicts(criterion: ConvergenceCriterion, seen: list[Observation]) -> list[Tensor]:
    state = criterion.init(_rows(seen))
    verdicts = []
    for each in seen:
        state, done = criterion.update(state, each)
        verdicts.append(done)
    return verdicts


def _taken(seen: Observation, rows: list[int]) -> Observation:
    """What was seen of some rows, in their order."""
    owner = seen.row.tolist()
    places = [place for row in rows for place, own in enumerate(owner) if own == row]
    strands = ("nll", "strand_exact", "strand_margin", "random", "full_context")
    return attrs.evolve(
        seen,
        loss=seen.loss[rows],
        step=seen.step[rows],
        row=torch.tensor([new for new, row in enumerate(rows) for own in owner if own == row]),
        **{name: getattr(seen, name)[places] for name in strands},
    )


def _hidden(seen: Observation, row: int) -> Observation:
    """The same of one row, and nothing finite of the others."""
    nothing = torch.tensor(torch.nan)
    own = seen.row == row
    return attrs.evolve(
        seen,
        loss=torch.where(torch.arange(len(seen.loss)) == row, seen.loss, nothing),
        nll=torch.where(own, seen.nll, nothing),
        strand_exact=seen.strand_exact & own,
        strand_margin=torch.where(own, seen.strand_margin, nothing),
    )
