"""Counting: which examples of a run have converged, by which rule, and which rule decides."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dcm.criterion import ConvergenceCriterion
from dcm.protocol.results import Result
from dcm.protocol.rule import FalseConvergence, converged

SEED_RULE = "seed-rule"
EXACT = "exact"
CERTIFIED = "certified"


@attrs.frozen
class Counting:
    """How gates count.

    Attributes:
        rule: the protocol's convergence rule.
        decides: "seed-rule", or "exact" where the rule is vacuous.
    """

    rule: ConvergenceCriterion
    decides: str

    @classmethod
    def choose(
        cls, rule: ConvergenceCriterion, found: FalseConvergence, asked: str = "auto"
    ) -> Counting:
        """Let the protocol's rule decide unless it is vacuous here.

        A rule that calls unoptimised contents converged would wave every run through, so gates
        then count exact examples.

        Args:
            rule: the protocol's rule.
            found: what the rule is worth on this model and data.
            asked: "auto", or the rule that shall decide whatever it is worth.
        """
        if asked != "auto":
            return cls(rule, asked)
        return cls(rule, EXACT if found.vacuous else SEED_RULE)

    def flags(self, results: Sequence[Result], by: str | None = None) -> list[bool]:
        """One verdict a result: by the rule that decides, or by "seed-rule", "exact" or
        "certified"."""
        by = by or self.decides
        if by == SEED_RULE:
            return converged(self.rule, results)
        return [result[by] is True for result in results]
