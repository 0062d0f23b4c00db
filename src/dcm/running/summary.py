"""What results.jsonl and summary.json hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, quantiles
from typing import Any

from dcm.evaluator import Evaluation
from dcm.outcome import Outcome


def result_line(outcome: Outcome, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """An outcome as a line of results.jsonl, without the place of its content."""
    return {
        "id": outcome.example.id,
        "status": outcome.status.value,
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "steps": outcome.steps,
        "row_steps": outcome.row_steps,
        "question": outcome.example.question,
        "answer": outcome.example.answer,
        "losses": {mode: finite(loss) for mode, loss in outcome.losses.items()},
        "variant_losses": {m: finite(loss) for m, loss in outcome.variant_losses.items()},
        "interference": interference(outcome.cosines),
        "baselines": {
            kind: {mode: finite(loss) for mode, loss in losses.items()}
            for kind, losses in outcome.baselines.items()
        },
        "exact": outcome.exact,
        "margin": finite(outcome.margin),
        "penalty": None if outcome.penalty is None else finite(outcome.penalty),
        "certified": outcome.certified,
        "decoded": dict(outcome.decoded),
        "evaluations": {
            name: {key: _json_number(value) for key, value in each.items()}
            for name, each in evaluations.items()
        },
        "content": None,
    }


def summarise(results: Iterable[Mapping[str, Any]], examples: int) -> dict[str, Any]:
    """The part of summary.json that follows from results.jsonl.

    Rates are shares of the finished examples, steps are those of the converged, and
    `mean_loss_ratio` is the mean over examples and modes of final / random baseline loss.
    `interference` is the mean over examples of what was measured of it, None where nothing was.
    `failed_reasons` counts examples that have a reason not to be done by its class: "too long for
    the model", "not what the tokenizer writes", "not finite".

    Args:
        results: lines of results.jsonl; read once.
        examples: how many examples the run has.
    """
    statuses: Counter[str] = Counter()
    exact = certified = finished = row_steps = 0
    steps: list[int] = []
    ratios: list[float] = []
    reasons: Counter[str] = Counter()
    apart: list[Mapping[str, float]] = []
    for result in results:
        finished += 1
        statuses[result["status"]] += 1
        exact += result["exact"]
        certified += result["certified"] is True
        row_steps += result["row_steps"]
        if result["status"] == "CONVERGED":
            steps.append(result["steps"])
        if result["reason"]:
            reasons[result["reason"].partition(": ")[0]] += 1
        random = result["baselines"].get("random", {})
        losses = {mode: loss for mode, loss in result["losses"].items() if loss is not None}
        each = [loss / random[mode] for mode, loss in losses.items() if random.get(mode)]
        if each:
            ratios.append(sum(each) / len(each))
        if result.get("interference"):
            apart.append(result["interference"])
    return {
        "examples": examples,
        "finished": finished,
        "status_counts": dict(sorted(statuses.items())),
        "failed_reasons": dict(sorted(reasons.items())),
        "converged_rate": share(statuses["CONVERGED"], finished),
        "exact_rate": share(exact, finished),
        "certified_rate": share(certified, finished),
        "median_steps": median(steps) if steps else None,
        "p90_steps": quantiles(steps, n=10, method="inclusive")[-1] if len(steps) > 1 else None,
        "mean_loss_ratio": finite(sum(ratios) / len(ratios)) if ratios else None,
        "interference": {
            key: finite(sum(each[key] for each in apart) / len(apart)) for key in apart[0]
        }
        if apart
        else None,
        "useful_row_steps": row_steps,
    }


def interference(cosines: Sequence[float]) -> dict[str, float] | None:
    """Along a row's steps: mean `cosine` of its modes' gradients, and the share `below_zero`.

    None where nothing finite was measured.
    """
    known = [each for each in cosines if math.isfinite(each)]
    if not known:
        return None
    return {
        "cosine": fmean(known),
        "below_zero": share(sum(each < 0 for each in known), len(known)),
    }


def share(part: int, whole: int) -> float:
    """part / whole; 0.0 of nothing."""
    return part / whole if whole else 0.0


def finite(value: float) -> float | None:
    """The number, or None where JSON has no way to write it."""
    return value if math.isfinite(value) else None


def _json_number(value: float | int | bool | str) -> float | int | bool | str | None:
    return finite(value) if isinstance(value, float) else value
