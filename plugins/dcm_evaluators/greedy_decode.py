"""What greedy decoding gives, compared with the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import attrs

from dcm import Evaluation, Evaluator, Example, Generator, Outcome, normalised_match, token_f1


@attrs.frozen
class GreedyDecode(Evaluator):
    """Grades what the saved content generates, for the question and the answer.

    Keys for each mode that was decoded: `MODE_verbatim`, `MODE_match` (after the normalisation of
    the SQuAD script) and `MODE_f1`, and for the example `grade`: "pass" where every text is
    verbatim, "partial" where every token F1 reaches `partial`, else "fail".

    Attributes:
        partial: least token F1 of a partial success.
    """

    partial: float = attrs.field(
        default=0.5, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )

    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Evaluation]:
        return [
            self._evaluate(example, outcome)
            for example, outcome in zip(examples, outcomes, strict=True)
        ]

    def _evaluate(self, example: Example, outcome: Outcome) -> Evaluation:
        wanted = {"question": example.question, "answer": example.answer}
        found: Evaluation = {}
        verbatim, scores = [], []
        for mode, text in outcome.decoded.items():
            expected = wanted.get(mode)
            if expected is None:
                continue
            verbatim.append(text == expected)
            scores.append(token_f1(text, expected))
            found[f"{mode}_verbatim"] = verbatim[-1]
            found[f"{mode}_match"] = normalised_match(text, expected)
            found[f"{mode}_f1"] = scores[-1]
        if verbatim and all(verbatim):
            found["grade"] = "pass"
        elif scores and min(scores) >= self.partial:
            found["grade"] = "partial"
        else:
            found["grade"] = "fail"
        return found

    def summarise(self, evaluations: Sequence[Mapping[str, object]]) -> dict[str, float]:
        """Shares of pass, partial and fail, and the mean of every number."""
        grades = [evaluation["grade"] for evaluation in evaluations]
        summary = {
            f"{grade}_rate": grades.count(grade) / len(grades) if grades else 0.0
            for grade in ("pass", "partial", "fail")
        }
        numbers: dict[str, list[float]] = {}
        for evaluation in evaluations:
            for key, value in evaluation.items():
                if isinstance(value, int | float):
                    numbers.setdefault(key, []).append(float(value))
        return summary | {f"mean_{key}": fmean(values) for key, values in numbers.items()}
