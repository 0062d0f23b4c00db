"""The experiment on paraphrases runs, goes on, and says the same in JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def experiment(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("experiments/paraphrase.py")


def test_every_arm_runs_on_the_same_pairs(
    experiment: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [
        {
            "id": example.id,
            "question": example.question,
            "answer": example.answer,
            "question_variants": [f"Say, {example.question}"],
            "answer_variants": [f"It is {example.answer}"],
        }
        for example in experiment.pairs(data, 2)
    ]
    variants = tmp_path / "variants.jsonl"
    variants.write_text("".join(json.dumps(each) + "\n" for each in made))
    out = tmp_path / "out"
    arguments = ["--data", str(data), "--pairs", "2", "--slots", "32", "--max-steps", "12"]
    arguments += ["--variants", str(variants), "--no-ask", "--out", str(out)]
    experiment.main(arguments)
    printed = capsys.readouterr().out
    figures = json.loads((out / "paraphrase.json").read_text())
    (found,) = figures["by_slots"].values()
    assert list(found) == ["joint", "project", "real", "templates", "made"]
    for arm, measures in found.items():
        assert measures["certified"]["mean"]["count"] == 2
        assert measures["unseen"]["mean"]["value"] > 0
        assert 0 <= measures["below_zero"]["mean"]["value"] <= 1
        assert ("minus_joint" in measures["steps"]) is (arm != "joint")
    # What was optimised for costs less than what was not.
    assert found["real"]["unseen"]["minus_joint"]["value"] < 0
    assert f"| real | {found['real']['unseen']['mean']['value']:.3g}; " in printed
    # What is there is not done again.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
    experiment.main(arguments)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
