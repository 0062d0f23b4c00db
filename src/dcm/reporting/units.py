"""Figures with their units, as a reader wants them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds as "0.8 s", "42 s", "3 min 05 s" or "2 h 13 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float) -> str:
    """A share as "98.3 %". Only all is 100.0 %, and only none is 0.0 %."""
    rounded = round(100 * share, 1)
    if share not in (0.0, 1.0) and rounded in (0.0, 100.0):
        rounded = 0.1 if rounded == 0.0 else 99.9
    return f"{rounded:.1f} %"


def size(count: int) -> str:
    """Bytes as "812 MiB" or "3.2 GiB"."""
    mebibytes = count / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def rate(number: float) -> str:
    """A number of something per second, as "0.7", "35" or "1,234"."""
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
