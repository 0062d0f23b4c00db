"""When a row is done, with numbers worked out by hand."""

from __future__ import annotations

import math

import attrs
import pytest
import torch

from dcm import ConvergenceCriterion, Observation, build, describe, find


def observation(
    nll=(1.0, 1.0), margin=(1.0, 1.0), row=(0, 0), random=None, full_context=None, noise=0.1
):
    """By default one row with two strands."""
    count = len(nll)
    margins = torch.tensor(margin)
    rows = max(row) + 1
    return Observation(
        loss=torch.zeros(rows).index_add(0, torch.tensor(row), torch.tensor(nll)),
        row=torch.tensor(row),
        nll=torch.tensor(nll),
        strand_exact=margins > 0,
        strand_margin=margins,
        step=torch.ones(rows, dtype=torch.int64),
        random=torch.tensor(random or [math.nan] * count),
        full_context=torch.tensor(full_context or [math.nan] * count),
        logit_noise=noise,
    )


def done(criterion, *seen):
    """The verdicts at one observation after the other."""
    state, verdicts = criterion.init(len(seen[0].loss)), []
    for each in seen:
        state, verdict = criterion.update(state, each)
        assert verdict.dtype == torch.bool
        verdicts.append(verdict.tolist())
    return verdicts


def criterion(name, *arguments, **options):
    return find("criterion", name)(*arguments, **options)


def test_a_row_is_seen_as_its_strands_are():
    seen = observation(nll=(1.0,) * 5, margin=(3.0, -1.0, 2.0, 0.5, 4.0), row=(1, 0, 1, 1, 0))
    assert seen.margin.tolist() == [-1.0, 0.5]
    assert seen.exact.tolist() == [False, True]
    assert seen.every(torch.tensor([True, True, False, True, True])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("margins", "options", "expected"),
    [
        ((1.0, 0.1), {}, True),  # the generator's own noise is 0.1
        ((1.0, 0.09), {}, False),
        ((1.0, 0.09), {"margin": 0.0}, True),
        ((1.0, 0.0), {"margin": 0.0}, False),  # a tie is no argmax
        ((1.0, -1.0), {"margin": 0.0}, False),
        ((3.0, 2.0), {"margin": 2.0}, True),
        ((3.0, 1.9), {"margin": 2.0}, False),
    ],
)
def test_exact_is_every_token_by_a_margin(margins, options, expected):
    assert done(criterion("exact", **options), observation(margin=margins)) == [[expected]]


def test_rows_are_judged_one_by_one():
    seen = observation(nll=(1.0,) * 4, margin=(1.0, 1.0, 1.0, -1.0), row=(0, 0, 1, 1))
    assert done(criterion("exact"), seen) == [[True, False]]


@pytest.mark.parametrize(
    ("nll", "expected"),
    [((1.1, 1.4), True), ((1.3, 1.4), False), ((1.1, 1.6), False), ((1.2, 1.4), False)],
)
def test_ratio_to_random(nll, expected):
    """0.3 of 4 and of 5: below 1.2 and 1.5."""
    seen = observation(nll=nll, random=(4.0, 5.0))
    assert done(criterion("ratio-to-random"), seen) == [[expected]]
    assert done(criterion("ratio-to-random", ratio=0.5), seen) == [[True]]


@pytest.mark.parametrize(("nll", "expected"), [((3.9, 0.9), True), ((3.9, 1.1), False)])
def test_within_full_context(nll, expected):
    """Twice 2 and twice 0.5."""
    seen = observation(nll=nll, full_context=(2.0, 0.5))
    assert done(criterion("within-full-context"), seen) == [[expected]]


@pytest.mark.parametrize(
    ("nll", "expected"),
    [
        ((1.1, 1.4), True),  # both below 0.3 x random
        ((0.9, 1.9), True),  # one by each half of the rule
        ((1.1, 2.1), False),
    ],
)
def test_seed_rule_takes_either_half_target_by_target(nll, expected):
    seen = observation(nll=nll, random=(4.0, 5.0), full_context=(0.4, 1.0))
    assert done(criterion("seed-rule"), seen) == [[expected]]
    either = criterion("ratio-to-random") | criterion("within-full-context")
    mixed = observation(nll=(0.9, 1.9), random=(4.0, 5.0), full_context=(0.4, 1.0))
    assert done(either, mixed) == [[False]]


@pytest.mark.parametrize("name", ["ratio-to-random", "within-full-context", "seed-rule"])
def test_what_was_not_measured_is_never_reached(name):
    rule = criterion(name)
    assert rule.needs_baselines
    assert done(rule, observation(nll=(0.0, 0.0))) == [[False]]
    assert done(
        rule, observation(nll=(math.nan, 0.1), random=(4.0,) * 2, full_context=(4.0,) * 2)
    ) == [[False]]


def test_the_seed_rule_lets_the_other_half_decide_where_one_was_not_measured():
    seen = observation(nll=(0.1, 0.1), random=(4.0, 5.0))
    assert done(criterion("seed-rule"), seen) == [[True]]


GOOD, BAD = observation(), observation(margin=(1.0, -1.0))


@pytest.mark.parametrize(
    ("steps", "seen", "expected"),
    [
        (1, (BAD, GOOD, BAD), (False, True, False)),
        (2, (GOOD, GOOD, GOOD), (False, True, True)),
        (3, (GOOD, GOOD, BAD, GOOD, GOOD, GOOD), (False,) * 5 + (True,)),
    ],
)
def test_patience_waits_for_steps_in_a_row(steps, seen, expected):
    verdicts = done(criterion("patience", steps=steps), *seen)
    assert verdicts == [[each] for each in expected]


def test_patience_counts_each_row_by_itself():
    def both(first, second):
        return observation(nll=(1.0, 1.0), margin=(first, second), row=(0, 1))

    verdicts = done(
        criterion("patience", steps=2), both(1.0, -1.0), both(1.0, 1.0), both(-1.0, 1.0)
    )
    assert verdicts == [[False, False], [True, False], [False, True]]


@attrs.frozen
class Counting(ConvergenceCriterion):
    """Done from the n-th update on."""

    after: int

    def init(self, rows, device=None):
        return torch.zeros(rows)

    def update(self, state, seen):
        return state + 1, state + 1 >= self.after


def test_criteria_compose_and_each_keeps_its_state():
    either, both = Counting(2) | Counting(3), Counting(2) & Counting(3)
    assert done(either, *[GOOD] * 4) == [[False], [True], [True], [True]]
    assert done(both, *[GOOD] * 4) == [[False], [False], [True], [True]]
    nested = (Counting(4) & Counting(1)) | Counting(3)
    assert done(nested, *[GOOD] * 4) == [[False], [False], [True], [True]]


def test_all_of_asks_for_all_at_once():
    exact = criterion("exact")
    low = criterion("ratio-to-random")
    exact_alone = observation(nll=(3.0, 3.0), random=(4.0, 4.0))
    low_alone = observation(nll=(0.1, 0.1), margin=(-1.0, 1.0), random=(4.0, 4.0))
    at_once = observation(nll=(0.1, 0.1), random=(4.0, 4.0))
    assert done(exact & low, exact_alone, low_alone, at_once) == [[False], [False], [True]]
    assert done(exact | low, exact_alone, low_alone, at_once) == [[True]] * 3


def test_compositions_need_baselines_where_a_part_does_and_can_be_written_down():
    exact, low = criterion("exact"), criterion("ratio-to-random", ratio=0.2)
    for composed in (exact | low, low & exact, criterion("patience", low, steps=2)):
        assert composed.needs_baselines
        assert build(describe(composed)) == composed
    assert not (exact | exact).needs_baselines
    assert not criterion("patience").needs_baselines
    with pytest.raises(ValueError, match="one criterion or more"):
        criterion("any-of", ())
    with pytest.raises(ValueError, match="one criterion or more"):
        criterion("all-of", ("exact",))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("exact", {"margin": -0.1}),
        ("ratio-to-random", {"ratio": 0.0}),
        ("within-full-context", {"factor": 0.0}),
        ("seed-rule", {"ratio": -1.0}),
        ("patience", {"steps": 0}),
    ],
)
def test_values_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        criterion(name, **wrong)
