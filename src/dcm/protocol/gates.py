"""Gate: a measured number, the threshold it is held against, and what follows."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import attrs

from dcm.protocol.statistics import Estimate

_MET = {">=": operator.ge, ">": operator.gt, "<=": operator.le}


class Verdict(StrEnum):
    """What a gate says."""

    PASSED = "passed"
    MISSED = "missed"
    """A goal that was not reached; the protocol goes on."""
    FAILED = "failed"
    """The protocol stops here, unless it is forced."""


@attrs.frozen
class Gate:
    """One decision of the protocol, as data.

    Attributes:
        stage: after which stage it is asked.
        name: what is asked.
        measured: the number, with its count and interval.
        relation: how the measured number must stand to the threshold: ">=", ">" or "<=".
        threshold: what it is held against.
        advice: what to do where it is not met.
        stops: whether the protocol stops where it is not met; else it is a goal.
        counted_by: by which rule examples were counted, if any.
        also: the same share by other rules, for the record.
    """

    stage: str
    name: str
    measured: Estimate
    relation: str = attrs.field(validator=attrs.validators.in_(tuple(_MET)))
    threshold: float
    advice: str
    stops: bool = True
    counted_by: str | None = None
    also: dict[str, float | None] = attrs.field(factory=dict)

    @property
    def verdict(self) -> Verdict:
        """A gate on nothing measured is not passed."""
        value = self.measured.value
        if value is not None and _MET[self.relation](value, self.threshold):
            return Verdict.PASSED
        return Verdict.FAILED if self.stops else Verdict.MISSED

    def as_json(self) -> dict[str, Any]:
        """All of it; the advice only where it is needed."""
        return {
            "stage": self.stage,
            "name": self.name,
            "measured": self.measured.as_json(),
            "relation": self.relation,
            "threshold": self.threshold,
            "counted_by": self.counted_by,
            "also": self.also,
            "stops": self.stops,
            "verdict": self.verdict.value,
            "advice": "" if self.verdict is Verdict.PASSED else self.advice,
        }


def failed(gates: Sequence[Gate]) -> list[Gate]:
    """Those at which the protocol stops."""
    return [gate for gate in gates if gate.verdict is Verdict.FAILED]
