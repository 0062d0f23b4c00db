"""Adam is torch's Adam, row by row, Muon makes directions equal; restarts give other starts."""

from __future__ import annotations

import pytest
import torch

from dcm import RowKey, Space, UsageError, build, describe, find
from dcm.solver.state import take
from dcm_optimizers.adam import usual_steepness

SPACE = Space(slots=3, width=16, scale=0.5, device=torch.device("cpu"))


def adam(**options):
    return find("optimizer", "adam")(**options)


def keys(*names, attempt=0, seed=0):
    return [RowKey(seed, name, attempt) for name in names]


def gradients(steps, *shape):
    source = torch.Generator().manual_seed(0)
    # Of very different sizes, as the gradients of a row are along its way.
    return [torch.randn(*shape, generator=source) * 10 ** (-3 * n / steps) for n in range(steps)]


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "betas": (0.9, 0.999)},
        {"lr": 3e-3, "betas": (0.6, 0.9), "eps": 1e-4},
        {"lr": 1.0, "betas": (0.0, 0.99)},
    ],
)
def test_a_row_moves_as_under_torchs_adam(options):
    """Rows that begin at different times: each has its own step count."""
    ours, steps = adam(**{**options, "lr": options["lr"] / SPACE.scale}, hypergradient=0.0), 40
    start = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(1))
    given = gradients(steps, 3, 2, 8)

    expected = []
    for row in range(3):
        parameter = torch.nn.Parameter(start[row].clone())
        theirs = torch.optim.Adam([parameter], **options)
        for gradient in given[10 * row :]:
            parameter.grad = gradient[row].clone()
            theirs.step()
        expected.append(parameter.detach())

    content, state = start[:1], ours.init(start[:1], SPACE)
    for number, gradient in enumerate(given):
        row = number // 10
        if number % 10 == 0 and 0 < row < 3:
            fresh = ours.init(start[row : row + 1], SPACE)
            content = torch.cat([content, start[row : row + 1]])
            state = type(state)(*(torch.cat(pair) for pair in zip(state, fresh, strict=True)))
        content, state = ours.step(content, gradient[: len(content)], state)
    torch.testing.assert_close(content, torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_a_row_whose_gradients_agree_steps_farther_and_one_that_overshoots_less():
    ours = adam(lr=0.1, hypergradient=0.3)
    ahead = torch.ones(1, 3, 16)
    lengths = {}
    for name, after in (("agrees", ahead), ("overshoots", -ahead)):
        content = torch.zeros(1, 3, 16)
        content, state = ours.step(content, ahead, ours.init(content, SPACE))
        assert content.abs().max().item() == pytest.approx(0.1 * SPACE.scale)
        lengths[name] = ours.step(content, after, state)[1].rate.item() / state.rate.item()
    assert lengths == {"agrees": pytest.approx(1.3), "overshoots": pytest.approx(0.7)}


@pytest.mark.parametrize(
    ("slots", "options", "expected"),
    [
        (32, {}, [1, 1 / 2, 1 / 3, 1 / 4, 2, 2]),
        (8, {}, [1, 1 / 2, 1 / 3, 1 / 4, 2, 2]),
        (32, {"lr": 0.1}, [1] * 6),
        (32, {"text_scale": 0.0}, [1] * 6),
        (4, {}, [1] * 6),
    ],
)
def test_rows_with_steep_first_gradients_begin_with_smaller_steps(slots, options, expected):
    """By the root of what they are summed up in size, within bounds: from texts, by default."""
    space = Space(slots=slots, width=16, scale=0.5, device=SPACE.device)
    ours, times = adam(**options), torch.tensor([1.0, 4.0, 9.0, 1e3, 1 / 4, 1e-3])
    usual = (usual_steepness(slots) or 10.0) / space.scale / (slots * 16)
    first = usual * times[:, None, None] * torch.ones(6, slots, 16)
    start = torch.zeros_like(first)
    content, state = ours.step(start, first, ours.init(start, space))
    lr = options.get("lr", ours.chosen(slots)["lr"]) * space.scale
    assert (content.abs().amax((1, 2)) / lr).tolist() == pytest.approx(expected, rel=1e-3)
    # The first gradient alone decides: later ones, as steep as they may be, change all rates alike.
    changed = ours.step(content, 1e3 * first, state)[1].rate / state.rate
    assert changed.tolist() == pytest.approx([changed[0].item()] * 6, rel=1e-3)


def test_steps_are_in_units_of_the_embeddings():
    """A model whose embeddings are 32 times as long, so that its gradients are a 32nd, has steps
    32 times as long."""
    small, large = (Space(8, 16, scale, SPACE.device) for scale in (0.5, 16.0))
    for ours in (find("optimizer", "adam")(eps=1e-12), find("optimizer", "muon")()):
        content, gradient = torch.zeros(1, 8, 16), gradients(1, 1, 8, 16)[0]
        near, _ = ours.step(content, gradient, ours.init(content, small))
        far, _ = ours.step(content, gradient / 32, ours.init(content, large))
        torch.testing.assert_close(far, 32 * near)


def test_a_second_attempt_starts_from_noise_alone():
    """Where an attempt from the texts has failed, another one begins elsewhere."""
    ours = adam()
    own = texts(6)
    first, second = (ours.start(keys("a", attempt=n), SPACE, own) for n in (0, 1))
    assert not torch.equal(first, ours.start(keys("a"), SPACE, texts(7)))
    assert torch.equal(second, ours.start(keys("a", attempt=1), SPACE, texts(7)))
    kept = adam(text_scale=1.0)
    assert not torch.equal(*(kept.start(keys("a", attempt=1), SPACE, texts(n)) for n in (6, 7)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"lr": 0.1, "betas": (0.9, 0.999)}),
        ("adam", {"lr": 0.1, "betas": (0.6, 0.9)}),
        ("muon", {"lr": 0.1}),
    ],
)
@pytest.mark.parametrize("shape", [(1, 4), (3, 64), (5, 7), (9, 64), (11, 32), (40, 24), (32, 64)])
def test_a_row_moves_by_the_same_bits_beside_any_others(shape, name, options):
    """For hundreds of steps: powers of the step count are where processors differ."""
    ours, rows = find("optimizer", name)(**options), 33
    start = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(1))

    def last(chosen):
        content = start[chosen]
        state = ours.init(content, SPACE)
        for gradient in gradients(250, rows, *shape):
            content, state = ours.step(content, gradient[chosen], state)
        return content

    together = last(list(range(rows)))
    for chosen in ([0], [32], [5, 6, 7], list(range(20, 3, -1))):
        assert torch.equal(last(chosen), together[chosen])


def test_a_step_changes_nothing_that_it_is_given():
    ours = adam(lr=0.1)
    content, gradient = torch.randn(2, 1, 4), torch.randn(2, 1, 4)
    _, state = ours.step(content, gradient, ours.init(content, SPACE))
    before = [content.clone(), gradient.clone(), *(part.clone() for part in state)]
    ours.step(content, gradient, state)
    assert all(map(torch.equal, before, [content, gradient, *state]))


def test_rows_of_a_state_can_be_taken_out():
    ours = adam(lr=0.1)
    content = torch.randn(4, 1, 4)
    content, state = ours.step(content, torch.randn(4, 1, 4), ours.init(content, SPACE))
    assert all(len(part) == 4 for part in state)
    chosen, gradient = torch.tensor([3, 1]), torch.randn(4, 1, 4)
    whole, _ = ours.step(content, gradient, state)
    some, _ = ours.step(content[chosen], gradient[chosen], take(state, chosen))
    assert torch.equal(some, whole[chosen])


def texts(*lengths):
    source = torch.Generator().manual_seed(5)
    return [torch.randn(length, SPACE.width, generator=source) for length in lengths]


def test_noise_alone_is_normal_at_the_models_scale():
    names = [f"e{n}" for n in range(400)]
    start = adam(start_scale=2.0, text_scale=0.0).start(keys(*names), SPACE, texts(4) * 400)
    assert start.shape == (400, 3, 16)
    assert start.dtype == torch.float32
    assert start.std().item() == pytest.approx(2.0 * SPACE.scale, rel=0.02)
    assert abs(start.mean().item()) < 0.02
    nothing = adam(start_scale=0.0, text_scale=0.0).start(keys("a"), SPACE, texts(4))
    assert torch.equal(nothing, torch.zeros(1, 3, 16))


def test_a_start_depends_on_its_key_and_text_alone():
    ours, own = adam(), texts(2, 5, 2, 2)
    own[2] = own[3] = own[0]
    start = ours.start([*keys("a", "b"), *keys("a", attempt=1), *keys("a", seed=1)], SPACE, own)
    assert len({tuple(row.flatten().tolist()) for row in start}) == 4
    assert torch.equal(ours.start(keys("b"), SPACE, own[1:2])[0], start[1])
    assert torch.equal(ours.start(keys("a", attempt=1), SPACE, own[:1])[0], start[2])


def test_tokens_are_dealt_out_to_the_slots():
    ours, own = adam(start_scale=0.0, text_scale=2.0), texts(0, 1, 2, 3, 4, 8)
    start = ours.start(keys(*"abcdef"), SPACE, own) / 2
    slots = [
        [[], [], []],
        [[0], [0], [0]],
        [[1], [0], [1]],
        [[0], [1], [2]],
        [[0, 1], [2], [3]],
        [[0, 1, 2], [3, 4, 5], [6, 7]],
    ]
    expected = [
        torch.stack([text[tokens].sum(0) / max(1, len(tokens)) ** 0.5 for tokens in places])
        for text, places in zip(own, slots, strict=True)
    ]
    torch.testing.assert_close(start, torch.stack(expected))


def test_defaults_follow_the_number_of_slots():
    """More slots, each with less to do: a smaller step from a nearer start."""

    def first_step(slots):
        content, space = torch.zeros(1, slots, 4), Space(slots, 4, 0.5, SPACE.device)
        moved, _ = adam().step(content, torch.ones(1, slots, 4), adam().init(content, space))
        return -moved[0, 0, 0].item()

    steps = [first_step(slots) for slots in (1, 2, 8, 32)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 5 * steps[-1] > 0
    fixed = adam(lr=0.25)
    moved, _ = fixed.step(
        torch.zeros(1, 9, 4), torch.ones(1, 9, 4), fixed.init(torch.zeros(1, 9, 4), SPACE)
    )
    torch.testing.assert_close(moved, torch.full((1, 9, 4), -0.25 * SPACE.scale))
    # Few slots spend no gradient on tokens that are right already.
    assert all(0 < adam().temperature(slots) < 1 for slots in range(1, 32))
    assert all(adam().temperature(slots) == 1 for slots in (32, 100, 1000))
    assert adam(gradient_temperature=0.5).temperature(32) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": -1.0},
        {"betas": (0.9,)},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"eps": 0.0},
        {"hypergradient": -0.1},
        {"hypergradient": 1.0},
        {"start_scale": -1.0},
        {"text_scale": -1.0},
        {"gradient_temperature": 0.0},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        adam(**wrong)


def test_restarts_wrap_another():
    restarts = find("optimizer", "restarts")
    ours = restarts(adam(lr=0.5, gradient_temperature=0.25), count=3)
    assert ours.attempts == 3
    assert restarts(ours, count=2).attempts == 6
    assert restarts().attempts == 5
    assert ours.temperature(8) == 0.25
    expected = ours.inner.start(keys("a"), SPACE, texts(4))
    assert torch.equal(ours.start(keys("a"), SPACE, texts(4)), expected)
    content, gradient = torch.randn(2, 1, 4), torch.randn(2, 1, 4)
    moved, _ = ours.step(content, gradient, ours.init(content, SPACE))
    expected, _ = ours.inner.step(content, gradient, ours.inner.init(content, SPACE))
    assert torch.equal(moved, expected)
    assert build(describe(ours)) == ours
    with pytest.raises(ValueError, match="count"):
        restarts(count=0)
    assert restarts(inner="adam") == restarts(adam())
    with pytest.raises(UsageError, match="an optimizer is expected, not 3"):
        restarts(inner=3)


@pytest.mark.parametrize("shape", [(4, 4, 64), (3, 32, 64), (2, 40, 16), (5, 1, 8)])
def test_muon_moves_along_every_direction_of_its_momentum_equally(shape):
    """Against the singular value decomposition, in float64."""
    muon = find("optimizer", "muon")(lr=0.1, momentum=0.0)
    start, (gradient,) = torch.zeros(shape), gradients(1, *shape)
    content, _ = muon.step(start, gradient, muon.init(start, SPACE))
    left, sizes, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    moved = left.mT @ (-content.double() / (0.1 * SPACE.scale * max(shape[1:]) ** 0.5)) @ right.mT
    lengths = moved.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(moved, torch.diag_embed(lengths), atol=1e-3, rtol=0)
    # The quintic iteration brings all but vanishing singular values near one.
    assert lengths[sizes > 0.05 * sizes.amax(1, keepdim=True)].min() > 0.6
    assert lengths.max() < 1.3


def test_muons_steps_get_shorter():
    muon = find("optimizer", "muon")(lr=0.1, momentum=0.0, decay=10.0)
    content = torch.zeros(1, 2, 8)
    state, lengths = muon.init(content, SPACE), []
    for _ in range(21):
        after, state = muon.step(content, gradients(1, 1, 2, 8)[0], state)
        lengths.append((after - content).norm().item())
        content = after
    assert lengths[10] == pytest.approx(lengths[0] / 2, rel=1e-4)
    assert lengths[20] == pytest.approx(lengths[0] / 3, rel=1e-4)


def test_any_number_of_slots_has_defaults():
    """Between those that were searched, and beyond them."""
    for slots in [*range(1, 140), 1000, 4096]:
        for name, value in adam().chosen(slots).items():
            least = 0 if slots == 1 and name == "text_scale" else 1e-9
            assert least <= value < 20, (slots, name)
        assert adam().chosen(slots)["hypergradient"] < 1
    assert adam().chosen(1)["text_scale"] == 0
