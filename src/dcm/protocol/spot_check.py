"""Stage 3: look at what converged contents generate, and at what failed ones do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dcm.grading import normalised_match, token_f1
from dcm.protocol.gates import Gate
from dcm.protocol.results import Result
from dcm.protocol.statistics import Estimate, bootstrap, rate

PASS_GOAL = 0.8
HIGH_CONVERGENCE = 0.5
PARTIAL_F1 = 0.5
GRADES = ("pass", "partial", "fail")
_MODES = ("question", "answer")


def grade(result: Result) -> str:
    """pass where every decoded text is verbatim, partial where every token F1 is at least 0.5."""
    pairs = [(result["decoded"][mode], result[mode]) for mode in _decoded_modes(result)]
    if pairs and all(found == expected for found, expected in pairs):
        return "pass"
    if pairs and all(token_f1(found, expected) >= PARTIAL_F1 for found, expected in pairs):
        return "partial"
    return "fail"


@attrs.frozen
class SpotCheck:
    """What decoding gave.

    Attributes:
        converged: grade -> count among the converged examples, all of them.
        failed: grade -> count among the others.
        passed: share of pass among the converged.
        by_text: mode -> "verbatim", "match", "f1" and, where a judge was asked, "equivalent" ->
            share or mean over all examples that were decoded.
        shown: the results to look at: some converged, drawn by a seed, and all others.
    """

    converged: Mapping[str, int]
    failed: Mapping[str, int]
    passed: Estimate
    by_text: Mapping[str, Mapping[str, Estimate]]
    shown: Sequence[Result]

    @classmethod
    def of(
        cls, results: Sequence[Result], verdicts: Sequence[bool], *, count: int, seed: int
    ) -> SpotCheck:
        """Grade every example and choose those to show.

        Args:
            results: of a run.
            verdicts: which of them have converged.
            count: how many of the converged to show.
            seed: draws them.
        """
        both = list(zip(results, verdicts, strict=True))
        good = sorted((result for result, flag in both if flag), key=lambda each: str(each["id"]))
        bad = [result for result, flag in both if not flag]
        draw = random.Random(seed)  # noqa: S311 - not for cryptography
        return cls(
            converged=_counts(good),
            failed=_counts(bad),
            passed=rate([grade(result) == "pass" for result in good]),
            by_text={mode: _texts(results, mode) for mode in _MODES if _decoded(results, mode)},
            shown=[*draw.sample(good, min(count, len(good))), *bad],
        )

    def gate(self) -> Gate:
        """The goal of the stage."""
        return Gate(
            stage="3",
            name="pass among the converged",
            measured=self.passed,
            relation=">",
            threshold=PASS_GOAL,
            advice=(
                "What is called converged does not decode: use the criterion exact, which waits "
                "for a margin, and count certified contents"
            ),
            stops=False,
        )

    def degenerate(self, convergence: Estimate) -> bool:
        """High convergence (above 50 %) with a low pass rate (at most 80 % of the converged)."""
        if convergence.value is None or self.passed.value is None:
            return False
        return convergence.value > HIGH_CONVERGENCE and self.passed.value <= PASS_GOAL

    def as_json(self) -> dict[str, Any]:
        """Counts, rates and the shown texts."""
        return {
            "converged": dict(self.converged),
            "failed": dict(self.failed),
            "pass_among_converged": self.passed.as_json(),
            "by_text": {
                mode: {name: each.as_json() for name, each in numbers.items()}
                for mode, numbers in self.by_text.items()
            },
            "shown": [
                {
                    "id": result["id"],
                    "status": result["status"],
                    "grade": grade(result),
                    "exact": result["exact"],
                    "certified": result["certified"],
                    "question": result["question"],
                    "answer": result["answer"],
                    "decoded": {mode: result["decoded"][mode] for mode in _decoded_modes(result)},
                }
                for result in self.shown
            ],
        }


def _decoded_modes(result: Result) -> list[str]:
    """The question first, whichever was decoded first."""
    return [mode for mode in _MODES if mode in result["decoded"]]


def _counts(results: Sequence[Result]) -> dict[str, int]:
    grades = [grade(result) for result in results]
    return {name: grades.count(name) for name in GRADES}


def _decoded(results: Sequence[Result], mode: str) -> list[Result]:
    return [result for result in results if mode in result["decoded"]]


def _texts(results: Sequence[Result], mode: str) -> dict[str, Estimate]:
    pairs = [(result["decoded"][mode], result[mode]) for result in _decoded(results, mode)]
    found = {
        "verbatim": rate([text == expected for text, expected in pairs]),
        "match": rate([normalised_match(text, expected) for text, expected in pairs]),
        "f1": bootstrap([token_f1(text, expected) for text, expected in pairs]),
    }
    judged = [
        bool(result["evaluations"]["semantic"][f"{mode}_equivalent"])
        for result in results
        if f"{mode}_equivalent" in result["evaluations"].get("semantic", {})
    ]
    return found | ({"equivalent": rate(judged)} if judged else {})
