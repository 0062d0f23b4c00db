"""Recorded steps are what they are without, whatever shapes come and whoever asks."""

from __future__ import annotations

import gc
import itertools
from functools import partial

import pytest
import torch

from dcm.causal_lm import recording
from dcm.causal_lm.recording import Recordings

CPU = torch.device("cpu")
WEIGHT = torch.linspace(-1, 1, 12).view(4, 3)

# The first passes say nothing of how long one takes to start, the next one does: then those of up
# to its size are recorded.
BEFORE = recording._WARM + 1


def function(first, *others):
    """[n, 4] to [n, 3] and [n]."""
    found = (first @ WEIGHT).tanh()
    for other in others:
        found = found + other[:, None]
    return found, first.detach().sum(1)


def drawn(lines, seed=0):
    generator = torch.Generator().manual_seed(100 * seed + lines)
    first = torch.randn(lines, 4, generator=generator, requires_grad=True)
    return first, torch.arange(lines * 1.0)


def ran(recordings, first, *others):
    return recordings.run(function, "a function", len(first), first, *others)


def result(run, first, *others):
    """What `run` makes of tensors, and its gradient."""
    found, aside = run(first, *others)
    (gradient,) = torch.autograd.grad(found.square().sum(), first)
    return found.detach().clone(), aside.clone(), gradient


def same(one, other):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.fixture
def plain(recordings):
    """See `PlainRecording`."""
    recordings.reset()
    return recordings


@pytest.fixture
def device(plain):
    return Recordings(CPU)


@pytest.fixture
def warm(device):
    """One that has seen a few passes."""
    for _ in range(recording._WARM):
        ran(device, *drawn(50))
    return device


@pytest.fixture
def ready(warm):
    """One that has seen passes of 50 lines wait for their launches."""
    ran(warm, *drawn(50))
    return warm


def test_results_and_gradients_are_those_without(device, plain):
    for seed, lines in enumerate([3, 8, 3, 4, 2, 3, 4, 7, 5, 3, 8, 1, 3, 4, 6, 8]):
        given = drawn(lines, seed)
        assert same(result(partial(ran, device), *given), result(function, *given))
    # The first that was timed has 4 lines, the next larger one 7, then 8.
    assert plain.made == device.made == 7
    assert plain.replayed == 10


def test_a_pass_that_fails_while_it_is_timed_is_forgotten(warm, plain):
    first, others = drawn(50)

    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        warm.run(too_large, "a function", len(first), first, others)
    ran(warm, first, others)  # this one is timed
    assert plain.made == 0
    result(partial(ran, warm), *drawn(50))
    assert plain.made == 1


def test_shapes_up_to_one_that_waits_are_recorded_when_they_first_come(ready, plain):
    for made, lines in enumerate((1, 50, 3), 1):
        result(partial(ran, ready), *drawn(lines))
        assert (plain.made, plain.replayed) == (made, made)
    result(partial(ran, ready), *drawn(51))  # is timed
    assert plain.made == 3
    for lines in (51, 40):
        result(partial(ran, ready), *drawn(lines))
    assert plain.made == 5


def test_other_tensors_and_kinds_are_recordings_of_their_own(ready, plain):
    first, other = drawn(4)

    def twice(*given):
        found, aside = function(*given)
        return 2 * found, aside

    for _ in range(3):
        for given in ((first,), (first, other), drawn(5)):
            assert same(result(partial(ran, ready), *given), result(function, *given))
        run = partial(ready.run, twice, "twice", 4)
        assert same(result(run, first, other), result(twice, first, other))
    assert plain.made == 4


def test_passes_that_wait_for_their_gradient_do_not_disturb_each_other(ready, plain):
    """Not those of one shape, nor those of several, whichever is asked for first."""

    def several(run, lines):
        given = [drawn(own, seed) for seed, own in enumerate(lines)]
        results = [run(*each) for each in given]
        loss = sum(found.square().sum() for found, _ in results)
        gradients = torch.autograd.grad(loss, [first for first, _ in given])
        return *gradients, *(aside for _, aside in results)

    for _ in range(3):
        for lines in ((4, 4, 4), (4, 6, 4), (6, 4)):
            assert same(several(partial(ran, ready), lines), several(function, lines))
    assert plain.made == 2
    assert plain.replayed > 2


def test_a_shape_that_comes_while_a_gradient_is_waited_for_is_recorded_later(ready, plain):
    result(partial(ran, ready), *drawn(4))
    waiting, _ = ran(ready, *drawn(4, seed=1))
    assert same(result(partial(ran, ready), *drawn(6)), result(function, *drawn(6)))
    assert plain.made == 1
    waiting.sum().backward()
    assert same(result(partial(ran, ready), *drawn(6)), result(function, *drawn(6)))
    assert plain.made == 2


def test_a_pass_that_is_given_up_makes_room_for_the_next(ready, plain):
    for _ in range(8):
        ran(ready, *drawn(4))  # nobody asks for a gradient
        gc.collect()
    assert plain.replayed == 8


def test_a_gradient_can_be_asked_for_once(ready):
    for _ in range(3):
        given = drawn(4)
        found = ran(ready, *given)[0].sum()
        torch.autograd.grad(found, given[0], retain_graph=True)
    with pytest.raises(RuntimeError, match="asked for twice"):
        torch.autograd.grad(found, given[0])


def test_what_cannot_be_recorded_goes_on_as_it_was(ready, plain):
    plain.fails = True
    for seed in range(4):
        given = drawn(3, seed)
        assert same(result(partial(ran, ready), *given), result(function, *given))
    plain.fails = False
    for _ in range(BEFORE + 2):
        result(partial(ran, ready), *drawn(2))
    assert plain.made == 0


def test_a_recording_that_fails_once_is_tried_again(ready, plain):
    """A kernel that had to be loaded has been, then."""
    plain.fails = True
    given = drawn(3)
    assert same(result(partial(ran, ready), *given), result(function, *given))
    plain.fails = False
    assert same(result(partial(ran, ready), *given), result(function, *given))
    assert (plain.made, plain.replayed) == (1, 1)


def test_a_recording_that_takes_too_much_is_the_last_of_its_size(ready, plain):
    sizes = {4: 10, 8: 200, 9: 10, 6: 10}  # of 1,000 bytes
    for lines, plain.taken in sizes.items():
        for seed in range(BEFORE + 2):
            given = drawn(lines, seed)
            assert same(result(partial(ran, ready), *given), result(function, *given))
    replayed = {}
    for lines in sizes:
        before = plain.replayed
        for seed in range(BEFORE + 2):
            result(partial(ran, ready), *drawn(lines, seed))
        replayed[lines] = plain.replayed > before
    assert replayed == {4: True, 8: False, 9: False, 6: True}


def test_what_would_take_too_much_is_not_recorded(warm, plain):
    plain.needed = 5  # of 1,000 bytes, a line
    result(partial(ran, warm), *drawn(50))
    for lines in (50, 26, 25, 20):
        assert same(result(partial(ran, warm), *drawn(lines)), result(function, *drawn(lines)))
    assert plain.made == 2  # of 25 and 20 lines


def test_nothing_is_recorded_where_no_memory_is_left(warm, plain):
    plain.needed = 1
    result(partial(ran, warm), *drawn(50))
    plain.held = 970  # of 1,000 bytes
    for lines in (50, 26, 25, 20):
        assert same(result(partial(ran, warm), *drawn(lines)), result(function, *drawn(lines)))
    assert plain.made == 2  # of 25 and 20 lines


def test_memory_that_a_recording_took_too_much_of_is_given_back(ready, plain):
    plain.taken = 200  # of 1,000 bytes
    result(partial(ran, ready), *drawn(8))
    gc.collect()
    assert plain.made == 1
    assert len(plain.memory) == 0


def test_where_memory_runs_out_recordings_give_way_and_are_half_as_large(ready, plain):
    assert not ready.let_go()
    for lines in (50, 20):
        result(partial(ran, ready), *drawn(lines))
    assert ready.let_go()
    assert not ready.let_go()
    for lines in (50, 26, 25, 20):
        assert same(result(partial(ran, ready), *drawn(lines)), result(function, *drawn(lines)))
    assert plain.made == 4  # of 50 and 20 lines before, of 25 and 20 after


def test_recordings_that_served_many_passes_are_made_again_as_large(ready, plain):
    """Decoding, say, may run out of memory again and again, and steps are recorded all along."""
    for made in (1, 2, 3):
        for _ in range(recording._FITTED):
            result(partial(ran, ready), *drawn(50))
        assert plain.made == made
        assert ready.let_go()
    # Once more, but soon: this time they may be what does not fit.
    result(partial(ran, ready), *drawn(50))
    assert ready.let_go()
    for lines in (50, 25):
        result(partial(ran, ready), *drawn(lines))
    assert plain.made == 5  # the last one of 25 lines


def test_all_are_made_anew_after_forget(ready, plain):
    """What was recorded runs another way now, and how long it takes is another question."""
    for _ in range(3):
        result(partial(ran, ready), *drawn(4))
    assert (plain.made, plain.replayed) == (1, 3)
    ready.forget()
    for seed in range(BEFORE):
        given = drawn(4, seed)
        assert same(result(partial(ran, ready), *given), result(function, *given))
    assert (plain.made, plain.replayed) == (1, 3)
    for seed in range(2):
        given = drawn(4, seed)
        assert same(result(partial(ran, ready), *given), result(function, *given))
    assert (plain.made, plain.replayed) == (2, 5)


def test_a_gradient_that_is_waited_for_survives_forget(ready):
    for _ in range(2):
        result(partial(ran, ready), *drawn(4))
    first, other = drawn(4, seed=1)
    found, _ = ran(ready, first, other)
    ready.forget()
    for seed in range(BEFORE + 2):
        given = drawn(4, seed)
        assert same(result(partial(ran, ready), *given), result(function, *given))
    (gradient,) = torch.autograd.grad(found.square().sum(), first)
    assert torch.allclose(gradient, result(function, first, other)[2], atol=1e-6)


def test_nothing_is_recorded_without_a_gradient(ready, plain):
    for _ in range(BEFORE + 2):
        with torch.no_grad():
            ran(ready, *drawn(4))
        ran(ready, drawn(4)[0].detach())
    assert plain.made == 0


def test_nothing_is_recorded_beyond_the_limit(ready, plain):
    ready.limit = 5
    for _ in range(4):
        for lines in (5, 6):
            result(partial(ran, ready), *drawn(lines))
    assert plain.made == 1
    assert plain.replayed == 4


def test_nothing_is_recorded_where_launches_do_not_take_the_time(warm, plain):
    """Two measurements that say so, and larger passes are not even measured."""
    plain.waits = False
    for lines in (8, 16):
        for _ in range(3):
            result(partial(ran, warm), *drawn(lines))
    plain.waits = True
    for _ in range(3):
        for lines in (17, 32):
            result(partial(ran, warm), *drawn(lines))
    assert plain.made == 0
    for _ in range(3):
        result(partial(ran, warm), *drawn(4))
    assert plain.made == 1


def test_a_size_that_does_not_come_again_is_not_recorded(ready, plain):
    for lines in (7, 7, 9):
        run = partial(ready.run, function, "a function", lines, recurs=False)
        assert same(result(run, *drawn(lines)), result(function, *drawn(lines)))
    assert plain.made == 0


def test_a_pass_that_asked_the_driver_for_memory_says_nothing(warm, plain, monkeypatch):
    """That takes the host long, and the next such pass does not."""
    held = itertools.count()
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: next(held))
    for _ in range(3):
        result(partial(ran, warm), *drawn(50))
    assert plain.made == 0
    monkeypatch.undo()


def test_one_measurement_that_was_disturbed_says_nothing_of_other_sizes(warm, plain):
    plain.waits = False
    result(partial(ran, warm), *drawn(2))
    plain.waits = True
    for _ in range(3):
        result(partial(ran, warm), *drawn(32))
    assert plain.made == 1


@pytest.mark.parametrize("waits", [True, False])
def test_sizes_are_rounded_up_to_one_that_was_seen_to_wait(warm, plain, waits):
    """Rounding a large pass that computes all along would cost more than its launches."""
    before = warm.rounds
    plain.waits = waits
    result(partial(ran, warm), *drawn(before + 1000))
    result(partial(ran, warm), *drawn(4))  # what was timed is known by now
    assert warm.rounds == before + 1000 * waits
