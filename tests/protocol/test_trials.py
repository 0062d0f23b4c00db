"""Numbers that runs are compared by, and the sentence that sums controls up."""

from __future__ import annotations

import math

import pytest

from dcm.errors import UsageError
from dcm.protocol.controls import Sentence, compare, controlled, pair_key
from dcm.protocol.counting import Counting
from dcm.protocol.plan import one_attempt, part
from dcm.protocol.statistics import Estimate
from dcm.protocol.trials import Difference, Trial, nats_per_slot
from dcm.running.experiment import Experiment
from dcm.testing.doubles import TinyGenerator, ToyTask
from dcm_controls.random_init import RandomInit
from dcm_controls.random_tokens import RandomTokens
from dcm_criteria.ratios import SeedRule
from dcm_optimizers.adam import Adam
from dcm_optimizers.restarts import Restarts
from dcm_wrappers.sample import Sample
from dcm_wrappers.shuffled import Shuffled

COUNTING = Counting(SeedRule(), "exact")


def words(text: str) -> list[str]:
    """A token a word, and the end."""
    return [*text.split(), "end"]


def trial(results, slots=1, max_steps=300, key=str) -> Trial:
    return Trial.of(results, COUNTING, slots=slots, max_steps=max_steps, encode=words, key=key)


def test_nats_per_slot_by_hand(make):
    # question 4 tokens x (5 - 1), answer 3 tokens x (4 - 0.5): 16 + 10.5 nats, over 4 slots.
    assert nats_per_slot(make(), 4, words) == pytest.approx(26.5 / 4)
    only = make(losses={"answer": 0.5})
    assert nats_per_slot(only, 1, words) == pytest.approx(10.5)
    assert math.isnan(nats_per_slot(make(losses={"answer": None}), 1, words))
    assert math.isnan(nats_per_slot(make(losses={}), 1, words))


def test_a_trial_by_hand(make):
    results = [
        make("a", steps=10),
        make("b", steps=20, certified=False),
        make("c", steps=250, exact=False, losses={"question": 4.5, "answer": 0.5}),
    ]
    found = trial(results)
    assert found.rates["exact"].value == pytest.approx(2 / 3)
    assert found.rates["certified"].value == pytest.approx(2 / 3)  # b is not, c is
    assert found.rates["seed-rule"].value == pytest.approx(2 / 3)
    assert (found.steps_to_exact.value, found.steps_to_exact.count) == (15, 2)
    # What never was exact counts with the budget, not with its best step.
    assert found.capped_steps.value == pytest.approx((10 + 20 + 300) / 3)
    assert found.steps == {"a": 10, "b": 20, "c": 300}
    # question 4 x (5 - 4.5), answer 10.5.
    assert found.nats_per_slot.value == pytest.approx((26.5 + 26.5 + 12.5) / 3)


def test_a_difference_is_over_the_examples_that_both_have(make):
    true = trial([make("a", steps=10), make("b", steps=30), make("c", steps=50)])
    other = trial(
        [make("a~x", steps=12), make("b~x", exact=False), make("d~x", steps=1)], key=pair_key
    )
    found = Difference.between(true, other)
    assert (found.steps.value, found.steps.count) == (((12 - 10) + (300 - 30)) / 2, 2)
    assert found.exact_rate.value == -0.5
    assert found.nats_per_slot.value == 0.0


def test_the_sentence_takes_the_mean_over_slots_of_each_pair(make):
    def trials(mark, steps):
        names = [f"{letter}{mark}" for letter in "abcdefghij"]
        key = pair_key if mark else str
        return trial([make(name, steps=steps) for name in names], key=key)

    true = {1: trials("", 10), 2: trials("", 20)}
    sentence = compare(true, {1: trials("~s", 14), 2: trials("~s", 22)})
    assert (sentence.difference.value, sentence.difference.count) == (3.0, 10)
    assert sentence.text == (
        "On this model and set, true pairs are easier than shuffled ones (shuffled pairs need "
        "+3.0 steps to exact, 95 % CI [+3.0, +3.0], 10 pairs; 1.5 steps, 10% of what true pairs "
        "take, would matter)."
    )


def test_a_few_pairs_say_nothing():
    assert "9 pairs say nothing" in Sentence(Estimate(3.0, 2.0, 4.0, 9), 2.0).text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.5, 3.0, "true pairs are easier than shuffled ones ("),
        (0.5, 1.5, "true pairs are easier than shuffled ones, though by less than would matter ("),
        (-0.5, 1.5, "true pairs are no easier than shuffled ones ("),
        # They may be harder, but easier they are not.
        (-8.7, 1.5, "true pairs are no easier than shuffled ones ("),
        (-3.0, -0.5, "true pairs are harder than shuffled ones ("),
        # A wide interval says nothing.
        (-8.7, 8.2, "it stays open whether true pairs are easier than shuffled ones ("),
    ],
)
def test_the_sentence_goes_by_the_interval_and_what_would_matter(low, high, said):
    assert said in Sentence(Estimate((low + high) / 2, low, high, 40), 2.0).text


def test_without_pairs_the_sentence_claims_nothing(make):
    assert "Nothing can be said" in compare({1: trial([make()])}, {}).text


EXPERIMENT = Experiment(generator=TinyGenerator(), dataset=ToyTask(5), seed=3)


def test_a_control_wraps_the_data_set_or_the_generator():
    shuffled = controlled(EXPERIMENT, "shuffled")
    assert shuffled.dataset == Shuffled(ToyTask(5), seed=3)
    assert shuffled.generator is EXPERIMENT.generator
    random = controlled(EXPERIMENT, "random-tokens")
    assert random.dataset == RandomTokens(ToyTask(5), TinyGenerator(), seed=3)
    # What is loaded once is used again.
    assert random.dataset.generator is EXPERIMENT.generator
    untrained = controlled(EXPERIMENT, "random-init")
    assert untrained.generator == RandomInit(TinyGenerator(), seed=3)
    assert untrained.dataset is EXPERIMENT.dataset


@pytest.mark.parametrize(
    ("name", "said"), [("samples", "It wraps no other dataset"), ("shufled", "Did you mean")]
)
def test_what_is_no_control_is_refused(name, said):
    with pytest.raises(UsageError, match=said):
        controlled(EXPERIMENT, name)


def test_a_part_is_drawn_by_seed_and_all_where_there_are_no_more():
    assert part(ToyTask(5), 3, 7) == Sample(ToyTask(5), 3, 7)
    assert part(ToyTask(5), 5, 7) == ToyTask(5)


def test_restarts_are_taken_off():
    assert one_attempt(Restarts(Adam(lr=0.1), 5)) == Restarts(Adam(lr=0.1), 1)
    assert one_attempt(Adam()) == Adam()
