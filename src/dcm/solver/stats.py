"""Stats: what a solve has done so far."""

from __future__ import annotations

import math

import attrs


@attrs.define
class Stats:
    """What a solve has done so far.

    Attributes:
        lanes: how many rows may be optimised at once.
        active: how many are.
        examples: examples taken from the source.
        finished: outcomes given out.
        uncertified: examples that have ended and wait to be certified with others.
        exact: how many of them are exact.
        certified: how many of them are certified.
        row_steps: measurements computed.
        useful_row_steps: those of rows that had not ended.
        phase: what is being done: "baselines", "optimising" or "certifying".
        step: how many times the rows in lanes have been measured, their median.
        loss: the median loss of the rows that the last step measured, nats.
        exact_share: which share of them was exact.
        ended: attempts that have ended.
        ended_cubes: the sum of the third powers of their steps, see `dcm.running.forecast`.
        running_cubes: the same of the attempts in lanes.
    """

    lanes: int = 0
    active: int = 0
    examples: int = 0
    finished: int = 0
    uncertified: int = 0
    exact: int = 0
    certified: int = 0
    row_steps: int = 0
    useful_row_steps: int = 0
    phase: str = "optimising"
    step: int = 0
    loss: float = math.nan
    exact_share: float = 0.0
    ended: int = 0
    ended_cubes: float = 0.0
    running_cubes: float = 0.0
