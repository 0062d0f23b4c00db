"""Promises 1 and 2: a row's result depends on the row alone, its randomness on its key alone."""

from __future__ import annotations

import itertools

import attrs
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dcm import Baselines, Example, Modes, RowKey, find, solve
from dcm.causal_lm import packing
from dcm.causal_lm.products import Products
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective, TinyGenerator

# The ways in which a model is scored: with its head taken apart or by the model itself, strands
# behind one prompt or each by itself, packed into one sequence and recorded, in fewer bits, on
# several threads.
WAYS = {
    "as on a CPU": {},
    "packed, as on a GPU": {"packed": True},
    "as a model that allows no more": {"head": None, "shares": False},
    "in bfloat16 products": {"compute": "bfloat16"},
    "on three threads": {"threads": 3},
}


@pytest.fixture(scope="module")
def small_packings():
    """Sizes begin as small as the tasks are: what fills them up takes a CPU most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_SMALLEST", 64)
        yield


@pytest.fixture(scope="module", params=WAYS)
def tiny(request, recordings, small_packings):
    generator, before = TinyGenerator(), torch.get_num_threads()
    recordings.reset()
    for name, value in WAYS[request.param].items():
        if name == "threads":
            torch.set_num_threads(value)
        elif name == "shares":
            tried = itertools.product(["prefix", "suffix"], [64, 128, 256])
            generator.lm._shares.update(dict.fromkeys(tried, value))
        elif name == "compute":
            object.__setattr__(generator.lm, "_products", Products(generator.lm.model, value))
        else:
            object.__setattr__(generator.lm, name, value)
    yield generator
    torch.set_num_threads(before)
    assert bool(recordings.replayed) == bool(generator.lm.packed)


def same(generator, one, other):
    """Whether two solves gave the same.

    To the last bit where strands are padded. Where they are packed a row's numbers are summed in
    another order beside other rows: verdicts and steps are the same, losses to rounding.
    """
    if not generator.lm.packed:
        return one == other
    kept = ("example", "status", "reason", "attempts", "steps", "exact", "certified")
    assert one.keys() == other.keys()
    for key, own in one.outcomes.items():
        its = other.outcomes[key]
        assert {name: one[key][name] for name in kept} == {name: other[key][name] for name in kept}
        assert [step for step, _ in own.curve] == [step for step, _ in its.curve]
        for mode, loss in own.losses.items():
            assert loss == pytest.approx(its.losses[mode], rel=1e-4)
        for (_, losses), (_, its_losses) in zip(own.curve, its.curve, strict=True):
            assert losses == pytest.approx(its_losses, rel=1e-4)
        assert own.margin == pytest.approx(its.margin, abs=1e-3)
        assert (own.content - its.content).norm() <= 1e-3 * own.content.norm()
    return True


TEXTS = st.text(alphabet="abcdefgh xyz?0123456789", min_size=1, max_size=30).filter(str.strip)


@st.composite
def tasks(draw, least=2, most=6):
    """Examples of mixed lengths, among them sometimes one that is far longer than the rest."""
    pairs = draw(st.lists(st.tuples(TEXTS, TEXTS), min_size=least, max_size=most))
    examples = [Example(id=f"e{n}", question=q, answer=a) for n, (q, a) in enumerate(pairs)]
    if draw(st.booleans()):
        examples[0] = attrs.evolve(examples[0], question="long " * 25)
    return examples


def options(slots=2, **more):
    """Rows that end at different steps, some by the criterion and some by the budget.

    With an eps that keeps steps smooth: Adam's first is a gradient's sign, which what is rounded
    off turns round where the gradient is almost nothing.
    """
    return {
        "slots": slots,
        "max_steps": 9,
        "optimizer": find("optimizer", "restarts")(
            find("optimizer", "adam")(lr=0.05, eps=0.01), count=2
        ),
        "criterion": find("criterion", "ratio-to-random")(ratio=0.9),
        "baselines": Baselines(draws=1),
        "seed": 3,
        **more,
    }


@settings(max_examples=8, phases=[Phase.generate])  # shrinking would take minutes
@given(tasks(), st.data())
def test_number_of_lanes_and_order_change_nothing(tiny, results, task, data):
    slots = data.draw(st.sampled_from([1, 2, 5]), "slots")
    modes = Modes(tiny, data.draw(st.sampled_from(["prefix", "suffix"]), "layout"))
    first, second = (data.draw(st.integers(1, 8), "lanes") for _ in range(2))
    shuffled = data.draw(st.permutations(task), "order")
    one = results(tiny, task, **options(slots, modes=modes, lanes=first))
    other = results(tiny, shuffled, **options(slots, modes=modes, lanes=second))
    assert same(tiny, one, other)


@settings(max_examples=5, phases=[Phase.generate])  # shrinking would take minutes
@given(tasks(), st.data())
def test_companions_change_nothing(tiny, results, task, data):
    together = results(tiny, task, **options(lanes=8))
    chosen = data.draw(st.sampled_from(task))
    alone = results(tiny, [chosen], **options(lanes=8))
    assert alone.keys() == {chosen.id}
    assert same(tiny, alone, together.of(chosen.id))


def test_full_lanes_change_nothing(tiny, results):
    """Wide batches run other kernels than narrow ones."""
    task = [Example(id=f"e{n}", question="q" * (n % 23 + 1), answer=f"a{n}") for n in range(40)]
    wide = results(tiny, task, **options(lanes=40, max_steps=4))
    narrow = results(tiny, task, **options(lanes=3, max_steps=4))
    assert same(tiny, wide, narrow)


def test_the_number_of_threads_changes_nothing(tiny, results, threads):
    task = [Example(id=f"e{n}", question="q" * (n % 13 + 1), answer=f"a{n}") for n in range(12)]
    found = []
    for count in (1, 2, 5):
        threads(count)
        found.append(results(tiny, task, **options(lanes=7, max_steps=4)))
    assert same(tiny, found[0], found[1])
    assert same(tiny, found[1], found[2])


def test_rows_that_run_long_change_nothing(results):
    """Hundreds of steps: what an optimiser derives from its step count must not depend on lanes."""
    generator = QuadraticGenerator(tolerance=1e-4)
    task = [Example(id=f"e{n}", question="q", answer=f"{n * 1.5 - 20}") for n in range(20)]
    settings_ = {
        "objective": QuadraticObjective(),
        "optimizer": find("optimizer", "adam")(lr=0.1, betas=(0.9, 0.999), start_scale=1.0),
        "slots": 3,
        "max_steps": 400,
    }
    wide = results(generator, task, lanes=20, **settings_)
    assert max(each["steps"][0] for each in wide.values()) > 200
    assert results(generator, task, lanes=1, **settings_) == wide


def starts(tiny, examples, seed=0, optimizer=None):
    """id -> the start contents, kept since nothing later is measured."""
    found = solve(
        tiny,
        examples,
        slots=2,
        max_steps=1,
        seed=seed,
        optimizer=optimizer or find("optimizer", "adam")(),
    )
    return {outcome.example.id: outcome.content for outcome in found}


def test_randomness_comes_from_seed_and_id(tiny):
    one = Example(id="one", question="same?", answer="same")
    two = attrs.evolve(one, id="two")
    other_text = attrs.evolve(one, question="other?", answer="other")
    first = starts(tiny, [one, two], seed=5)
    assert not torch.equal(first["one"], first["two"])
    assert torch.equal(first["one"], starts(tiny, [two, one], seed=5)["one"])
    assert not torch.equal(first["one"], starts(tiny, [one], seed=6)["one"])
    noise = find("optimizer", "adam")(text_scale=0.0)
    first = starts(tiny, [one], 5, noise)
    assert torch.equal(first["one"], starts(tiny, [other_text], 5, noise)["one"])


def test_randomness_leaves_the_process_alone(tiny):
    task = [Example(id="one", question="why?", answer="so")]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = starts(tiny, task)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(starts(tiny, task)["one"], first["one"])


@pytest.mark.parametrize("purpose", ["start", "baseline"])
def test_row_keys_are_independent(purpose):
    def numbers(key):
        return torch.randn(4, generator=key.random(purpose)).tolist()

    keys = [
        RowKey(seed, name, attempt)
        for seed in (0, 1, 11)
        for name in ("a", "b", "1")
        for attempt in (0, 1, 11)
    ]
    assert len({tuple(numbers(key)) for key in keys}) == len(keys)
    assert numbers(RowKey(0, "a", 1)) == numbers(RowKey(0, "a", 1))
