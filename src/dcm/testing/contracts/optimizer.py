"""What an optimiser promises."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dcm.optimizer import Optimizer, RowKey, Space, State
from dcm.solver.state import join, over, take
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.strategies import tensors

SPACE = Space(slots=2, width=3, scale=0.5, device=torch.device("cpu"))
KEYS = [RowKey(seed, id, attempt) for seed in (0, 1) for id in ("a", "b") for attempt in (0, 1)]
# Of texts with no token, with fewer than slots, and with more.
TEXTS = [
    torch.linspace(-1, 1, 3 * tokens).reshape(tokens, 3) for tokens in (4, 0, 1, 2, 3, 5, 6, 9)
]
_ROWS = 3
_gradients = st.lists(tensors(_ROWS, SPACE.slots, SPACE.width), min_size=1, max_size=3)


class OptimizerContract(ComponentContract):
    """Starts that depend on their keys alone, and steps that keep rows apart, bit for bit."""

    kind = "optimizer"

    @pytest.fixture
    def optimizer(self) -> Optimizer:
        raise NotImplementedError("override the fixture `optimizer`")

    @pytest.fixture
    def component(self, optimizer: Optimizer) -> Optimizer:
        return optimizer

    def test_there_is_an_attempt(self, optimizer: Optimizer) -> None:
        assert isinstance(optimizer.attempts, int)
        assert optimizer.attempts >= 1

    def test_starts_are_finite_contents(self, optimizer: Optimizer) -> None:
        start = optimizer.start(KEYS, SPACE, TEXTS)
        assert start.shape == (len(KEYS), SPACE.slots, SPACE.width)
        assert start.dtype == torch.float32
        assert start.device == SPACE.device
        assert bool(start.isfinite().all())

    @FEW
    @given(order=st.permutations(range(len(KEYS))))
    def test_a_start_depends_on_its_key_and_its_texts_alone(
        self, optimizer: Optimizer, order: list[int]
    ) -> None:
        starts = optimizer.start(KEYS, SPACE, TEXTS)
        torch.randn(3)  # and not on torch's own random numbers
        keys, texts = [KEYS[row] for row in order], [TEXTS[row] for row in order]
        assert torch.equal(optimizer.start(keys, SPACE, texts), starts[order])
        for row, (key, text) in enumerate(zip(KEYS, TEXTS, strict=True)):
            assert torch.equal(optimizer.start([key], SPACE, [text])[0], starts[row])

    def test_other_keys_start_elsewhere_where_there_are_several_attempts(
        self, optimizer: Optimizer
    ) -> None:
        if optimizer.attempts == 1:
            return
        starts = optimizer.start(KEYS, SPACE, TEXTS[:1] * len(KEYS))
        assert len({tuple(start.flatten().tolist()) for start in starts}) == len(KEYS)

    @FEW
    @given(gradients=_gradients)
    def test_states_have_the_row_as_first_axis(
        self, optimizer: Optimizer, gradients: list[Tensor]
    ) -> None:
        content, state = _begin(optimizer)
        for gradient in gradients:
            assert set(lengths(state)) <= {_ROWS}
            content, state = optimizer.step(content, gradient, state)
        assert set(lengths(state)) <= {_ROWS}

    @FEW
    @given(gradients=_gradients)
    def test_a_step_leaves_its_arguments_as_they_are(
        self, optimizer: Optimizer, gradients: list[Tensor]
    ) -> None:
        content, state = _begin(optimizer)
        for gradient in gradients:
            before = (content.clone(), gradient.clone(), over(torch.clone, state))
            new, new_state = optimizer.step(content, gradient, state)
            assert new.shape == content.shape
            assert new.dtype == torch.float32
            assert same((content, gradient, state), before)
            content, state = new, new_state

    @FEW
    @given(gradients=_gradients)
    def test_a_row_moves_as_it_would_alone(
        self, optimizer: Optimizer, gradients: list[Tensor]
    ) -> None:
        together = _walk(optimizer, *_begin(optimizer), gradients)
        content, _ = _begin(optimizer)
        for row in range(_ROWS):
            alone = content[[row]]
            own = [gradient[[row]] for gradient in gradients]
            walked = _walk(optimizer, alone, optimizer.init(alone, SPACE), own)
            assert same(walked, take(together, torch.tensor([row])))

    @FEW
    @given(gradients=_gradients)
    def test_a_row_without_a_finite_gradient_disturbs_no_other(
        self, optimizer: Optimizer, gradients: list[Tensor]
    ) -> None:
        together = _walk(optimizer, *_begin(optimizer), gradients)
        broken = [gradient.clone() for gradient in gradients]
        broken[0][0], broken[-1][0, 0, 0] = torch.nan, torch.inf
        others = torch.arange(1, _ROWS)
        disturbed = _walk(optimizer, *_begin(optimizer), broken)
        assert same(take(disturbed, others), take(together, others))

    @FEW
    @given(gradients=_gradients, order=st.permutations(range(_ROWS)), cut=st.integers(1, _ROWS - 1))
    def test_rows_can_be_taken_out_and_put_together(
        self, optimizer: Optimizer, gradients: list[Tensor], order: list[int], cut: int
    ) -> None:
        content, state = _walk(optimizer, *_begin(optimizer), gradients)
        first, second = (torch.tensor(part) for part in (order[:cut], order[cut:]))
        moved = join(take((content, state), first), take((content, state), second))
        gradient = gradients[0]
        expected = take(optimizer.step(content, gradient, state), torch.tensor(order))
        assert same(optimizer.step(*_with(moved, gradient[order])), expected)

    @FEW
    @given(gradients=_gradients)
    def test_it_remembers_nothing_itself(
        self, optimizer: Optimizer, gradients: list[Tensor]
    ) -> None:
        first = _walk(optimizer, *_begin(optimizer), gradients)
        assert same(_walk(optimizer, *_begin(optimizer), gradients), first)

    def test_a_gradient_of_zero_is_no_harm(self, optimizer: Optimizer) -> None:
        content, state = _begin(optimizer)
        for _ in range(3):
            content, state = optimizer.step(content, torch.zeros_like(content), state)
        assert bool(content.isfinite().all())

    def test_it_descends_a_quadratic(self, optimizer: Optimizer) -> None:
        content, state = _begin(optimizer)
        # As far away as contents are from where they start, in units of the embeddings.
        place = content + SPACE.scale * torch.linspace(-4, 4, content[0].numel()).reshape(
            content[0].shape
        )
        first = (content - place).square().sum((1, 2))
        for _ in range(200):
            content, state = optimizer.step(content, 2 * (content - place), state)
        assert bool(((content - place).square().sum((1, 2)) < first / 2).all())


def _begin(optimizer: Optimizer) -> tuple[Tensor, State]:
    content = optimizer.start(KEYS[:_ROWS], SPACE, TEXTS[:_ROWS])
    return content, optimizer.init(content, SPACE)


def _walk(
    optimizer: Optimizer, content: Tensor, state: State, gradients: list[Tensor]
) -> tuple[Tensor, State]:
    for gradient in gradients:
        content, state = optimizer.step(content, gradient, state)
    return content, state


def _with(moved: State, gradient: Tensor) -> tuple[Tensor, Tensor, State]:
    content, state = moved
    return content, gradient, state


def lengths(state: State) -> list[int]:
    found: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(len(tensor))
        return tensor

    over(note, state)
    return found


def same(one: State, other: State) -> bool:
    """Whether two states are equal bit for bit."""
    equal: list[bool] = []

    def compare(first: Tensor, second: Tensor) -> Tensor:
        equal.append(
            first.dtype == second.dtype
            and first.shape == second.shape
            and torch.equal(first.nan_to_num(), second.nan_to_num())
            and torch.equal(first.isnan(), second.isnan())
        )
        return first

    over(compare, one, other)
    return all(equal)
