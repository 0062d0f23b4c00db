"""Convergence criteria, and those that wrap others."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_criteria() -> Iterable[Component]:
    return [
        Component("exact", "dcm_criteria.exact:Exact", "every token the argmax, with a margin"),
        Component(
            "ratio-to-random",
            "dcm_criteria.ratios:RatioToRandom",
            "every loss below a share of the loss under random contents",
        ),
        Component(
            "within-full-context",
            "dcm_criteria.ratios:WithinFullContext",
            "every loss below a multiple of the loss after plain text",
        ),
        Component(
            "seed-rule",
            "dcm_criteria.ratios:SeedRule",
            "ratio-to-random or within-full-context, target by target",
        ),
        Component(
            "penalty-below", "dcm_criteria.penalty:PenaltyBelow", "the objective's penalty is small"
        ),
        Component(
            "patience",
            "dcm_criteria.patience:Patience",
            "another criterion, held for a while",
        ),
        Component("any-of", "dcm.criterion:AnyOf", "one of several criteria"),
        Component("all-of", "dcm.criterion:AllOf", "all of several criteria at once"),
    ]
