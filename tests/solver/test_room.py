"""The number of lanes follows the memory, and no result follows the number of lanes."""

from __future__ import annotations

import gc
import itertools
import weakref

import attrs
import pytest
import torch

from dcm import Example, Strands, StrandScores, find, memory_limit, solve
from dcm.running.provenance import peak_memory
from dcm.solver import Stats, room
from dcm.solver.room import Room
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective, TinyGenerator

GIB = 1 << 30


def solved(stats: Stats | None = None, lanes: int | None = None) -> dict[str, torch.Tensor]:
    task = [Example(id=f"e{n}", question="what " * (n % 4 + 1), answer=f"{n}") for n in range(40)]
    adam = find("optimizer", "adam")()
    outcomes = solve(
        TinyGenerator(), task, slots=4, max_steps=4, optimizer=adam, stats=stats, lanes=lanes
    )
    return {outcome.example.id: outcome.content for outcome in outcomes}


def test_a_cpu_takes_as_many_rows_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    plenty, little = Stats(), Stats()
    many = solved(plenty)
    assert plenty.lanes == 96
    monkeypatch.setattr(room, "free_memory", lambda: 6 << 20)
    few = solved(little)
    assert 4 <= little.lanes < 96
    assert many.keys() == few.keys()
    assert all(torch.equal(many[key], few[key]) for key in many)


def test_a_step_that_fails_leaves_nothing_in_memory() -> None:
    """Memory that ran out must be there for the next try."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def step() -> None:
        with Room(torch.device("cpu"), None).watch(4, 40):
            alive.append(weakref.ref(torch.randn(4, 8, requires_grad=True).exp()))
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        step()
    gc.collect()
    assert alive[0]() is None


def test_a_number_that_was_asked_for_stays() -> None:
    stats = Stats()
    solved(stats, lanes=7)
    assert stats.lanes == 7


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A graphics card in numbers: `model` bytes held, `row` bytes a row, `free`, `limit` in %."""
    numbers = {"model": 14 * GIB, "row": GIB // 4, "free": 66 * GIB, "limit": 100, "rows": 0}
    peak = lambda _: numbers["model"] + numbers["rows"] * numbers["row"]  # noqa: E731
    fakes = {
        "current_device": lambda: 0,
        "empty_cache": lambda: None,
        "memory_allocated": lambda _: numbers["model"],
        "memory_reserved": lambda _: numbers["model"],
        "mem_get_info": lambda _: (numbers["free"], 80 * GIB),
        "get_per_process_memory_fraction": lambda _: numbers["limit"] / 100,
        "reset_peak_memory_stats": lambda _: None,
        "max_memory_allocated": peak,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(memory_limit, "_highest", {})
    return numbers


def grown(card: dict[str, int], steps: int = 12) -> list[int]:
    """The numbers of lanes of rows of ten positions each."""
    lanes = Room(torch.device("cuda"), None)
    found = [lanes.lanes]
    for _ in range(steps):
        card["rows"] = lanes.lanes
        with lanes.watch(lanes.lanes, 10 * lanes.lanes):
            pass
        found.append(lanes.lanes)
    return found


def test_a_gpu_begins_with_a_few_rows_and_leaps_to_what_surely_fits(
    card: dict[str, int],
) -> None:
    found = grown(card)
    assert found[0] == 16
    assert found == sorted(found)
    assert all(after <= 8 * before for before, after in itertools.pairwise(found))
    assert 0.7 * 66 * 4 <= found[2] <= 66 * 4  # four rows a GiB, after two steps


def test_longer_rows_are_fewer(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 16
    for _ in range(3):
        with lanes.watch(lanes.lanes, 10 * lanes.lanes):
            pass
        card["rows"] = lanes.lanes
    # What fits is positions, whichever rows they belong to.
    assert 0.7 * 66 * 4 * 10 <= lanes.positions <= 66 * 4 * 10


def test_a_gpu_keeps_to_the_share_of_its_memory_that_the_process_was_given(
    card: dict[str, int],
) -> None:
    card["limit"] = 40  # 32 GiB, 14 of which the model has
    assert 0.7 * 18 * 4 <= grown(card)[-1] <= 18 * 4


def test_small_rows_are_not_taken_without_end(card: dict[str, int]) -> None:
    card["row"] = 1 << 20
    assert grown(card)[-1] == 1024


def stepped(lanes: Room, card: dict[str, int], steps: int = 12) -> tuple[int, int]:
    """Lanes and positions after full steps of rows of ten positions each."""
    for _ in range(steps):
        card["rows"] = lanes.lanes
        with lanes.watch(lanes.lanes, 10 * lanes.lanes):
            pass
    return lanes.lanes, lanes.positions


def test_where_memory_ran_out_lanes_grow_again_but_not_to_what_failed(
    card: dict[str, int],
) -> None:
    lanes = Room(torch.device("cuda"), None)
    most, _ = stepped(lanes, card)
    lanes.shrink(most // 2, 10 * (most // 2), 10 * most)
    assert lanes.lanes == most // 2
    again, positions = stepped(lanes, card)
    assert 0.85 * most <= again <= 0.9 * most
    assert positions <= 9 * most
    # And again, each time with less.
    lanes.shrink(again // 2, 10 * (again // 2), 10 * again)
    last, _ = stepped(lanes, card)
    assert 0.85 * again <= last <= 0.9 * again


def test_rows_that_take_less_than_those_that_failed_are_more(card: dict[str, int]) -> None:
    """Steps that are compiled keep less."""
    lanes = Room(torch.device("cuda"), None)
    lanes.shrink(60, 600, 1200)
    before, _ = stepped(lanes, card)
    assert 100 <= before <= 108
    card["row"] //= 2
    after, _ = stepped(lanes, card)
    assert 1.9 * before <= after <= 2 * 108


def test_a_number_that_was_asked_for_stays_at_what_memory_holds(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), 16)
    lanes.shrink(8, 80, 160)
    assert stepped(lanes, card) == (8, 80)


def test_the_peak_of_a_process_is_that_of_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning counts the peak of each step anew."""
    peaks = {"now": 5 * GIB}
    fakes = {
        "current_device": lambda: 0,
        "reset_peak_memory_stats": lambda _: peaks.update(now=GIB),
        "max_memory_allocated": lambda _: peaks["now"],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(memory_limit, "_highest", {})
    memory_limit.begin_peak(torch.device("cuda"))
    peaks["now"] = 3 * GIB
    memory_limit.begin_peak(torch.device("cuda"))
    assert peak_memory("cuda:0") == 5 * GIB
    memory_limit.forget_peak(torch.device("cuda"))
    assert peak_memory("cuda:0") == GIB


def test_a_step_with_fewer_rows_than_lanes_teaches_nothing(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 3
    with lanes.watch(3, 30):
        pass
    assert lanes.lanes == 16


def test_a_step_with_few_rows_that_fill_the_positions_teaches(card: dict[str, int]) -> None:
    """Where rows are long there are never as many as there are lanes."""
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 16
    with lanes.watch(16, 1600):
        pass
    known = lanes.positions
    card["rows"] = 20
    with lanes.watch(20, known // 2 + 1):
        pass
    assert lanes.positions > known


def test_a_cpu_learns_how_many_positions_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 80_000)
    lanes = Room(torch.device("cpu"), None)
    with lanes.watch(4, 40):
        # Autograd keeps what `exp` gave: 1,000 bytes for each row.
        torch.randn(4, 250, requires_grad=True).exp()
    # Half of the memory is for rows.
    assert lanes.positions == 400
    assert lanes.lanes == 40


def test_memory_that_ran_out_is_remembered_in_positions(card: dict[str, int]) -> None:
    lanes = Room(torch.device("cuda"), None)
    card["rows"] = 16
    with lanes.watch(16, 160):
        pass
    lanes.shrink(12, 300, 600)
    card["rows"] = 12
    for _ in range(3):
        with lanes.watch(12, 300):
            pass
    assert lanes.positions == 540


@attrs.frozen
class Counting(QuadraticGenerator):
    """Keeps what is scored at once, as (texts, positions); too many positions raise."""

    most: int = 1 << 30
    scored: list[tuple[list[str], int]] = attrs.field(factory=list, eq=False)
    refused: list[int] = attrs.field(factory=list, eq=False)

    def score(self, content: torch.Tensor, strands: Strands) -> StrandScores:
        positions = sum(content.shape[1] + len(ids) for ids in strands.ids)
        if positions > self.most:
            self.refused.append(len(self.scored))
            raise torch.OutOfMemoryError
        self.scored.append(([self.text(ids) for ids in strands.ids], positions))
        return super().score(content, strands)


def numbers(count: int) -> list[Example]:
    """Targets of 3 to 30 tokens, each another number."""
    return [
        Example(id=f"e{n}", question="q", answer=f"{n}.{'0' * (n * 7 % 28)}") for n in range(count)
    ]


def counted(generator: Counting, examples: list[Example], **options: object) -> dict[str, object]:
    outcomes = solve(
        generator,
        examples,
        objective=QuadraticObjective(),
        optimizer=find("optimizer", "adam")(lr=0.3),
        slots=2,
        max_steps=12,
        **options,  # type: ignore[arg-type]
    )
    return {each.example.id: (each.losses, each.steps, each.row_steps) for each in outcomes}


def test_lanes_take_rows_in_their_order_and_as_many_as_have_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Room.__init__

    def small(self: Room, device: torch.device, fixed: int | None) -> None:
        real(self, device, fixed)
        self.positions = 100

    examples, free = numbers(50), Counting()
    expected = counted(free, examples, lanes=20)
    monkeypatch.setattr(Room, "__init__", small)
    generator = Counting()
    assert counted(generator, examples, lanes=20) == expected
    assert max(positions for _, positions in free.scored) > 200
    assert all(positions <= 100 for _, positions in generator.scored)
    # A short row never overtakes a long one that does not fit yet.
    begun = list(dict.fromkeys(text for texts, _ in generator.scored for text in texts))
    assert begun == [example.answer for example in examples]
    # No lane is left free for whom there is room: the next row would not have fitted.
    lengths = {example.answer: 2 + len(example.answer) + 1 for example in examples}
    for texts, positions in generator.scored:
        after = begun.index(max(texts, key=begun.index)) + 1
        assert after == len(begun) or positions + lengths[begun[after]] > 100 or len(texts) == 20


def test_a_row_that_has_more_positions_than_there_are_is_tried_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Room.__init__

    def tiny(self: Room, device: torch.device, fixed: int | None) -> None:
        real(self, device, fixed)
        self.positions = 1

    monkeypatch.setattr(Room, "__init__", tiny)
    generator = Counting()
    assert len(counted(generator, numbers(6), lanes=4)) == 6
    assert {len(texts) for texts, _ in generator.scored} == {1}


def test_memory_that_runs_out_does_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on rows are as few as their positions need, long ones and short ones."""
    examples = numbers(60)
    plenty = counted(Counting(), examples, lanes=32)
    generator = Counting(most=150)
    assert counted(generator, examples, lanes=32) == plenty
    # Each time half the rows went, until what was left fitted; then never again.
    assert 1 <= len(generator.refused) <= 3
    assert set(generator.refused) == {0}
