"""How long a run still takes, judged by steps."""

from __future__ import annotations

from dcm.solver import Stats

# Rows begin together, and those of one kind end after about as many steps, so that a count of the
# finished says nothing until many are. The number of steps is taken as Weibull distributed with
# this shape, which that of real runs is near; rows that still run count with the steps they have.
_SHAPE = 3
_MEAN = 0.893  # of that distribution, in units of its scale: gamma(1 + 1 / shape)
_LEAST = 3  # attempts that have ended; fewer say too little


def seconds_left(stats: Stats, examples: int, seconds: float) -> float | None:
    """An estimate of the seconds that the solver still takes; None while it would be a guess.

    The scale of a Weibull distribution of known shape k is estimated, with rows that have not
    ended, by (sum of steps ** k / number that ended) ** (1 / k): its maximum likelihood estimate
    (Cohen 1965, Technometrics 7). What the steps of the rest take is what those so far took, with
    baselines and certification.

    Args:
        stats: of the solver.
        examples: how many examples it has to finish, those that it has finished included.
        seconds: since it began.
    """
    if stats.ended < _LEAST or not stats.row_steps:
        return None
    total = stats.ended_cubes + stats.running_cubes
    typical: float = _MEAN * (total / stats.ended) ** (1 / _SHAPE)
    waiting = max(0, examples - stats.finished - stats.active)
    of_a_running_row = max(typical - stats.step, typical / 4)
    row_steps = waiting * typical + stats.active * of_a_running_row
    return seconds / stats.row_steps * row_steps
