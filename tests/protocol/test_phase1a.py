"""The whole protocol, as its script runs it, on a tiny random model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dcm import find
from dcm.errors import UsageError
from dcm.protocol import infrastructure
from dcm.protocol.plan import Plan
from dcm.protocol.results import read_results
from dcm.testing.doubles import save_tiny_model

SCRIPT = Path(__file__).parents[2] / "experiments" / "phase1a.py"
PAIRS = {
    "who wrote it": "Ada",
    "what colour": "red",
    "how many": "7",
    "which town": "Ulm",
    "where from": "Oslo",
    "since when": "1834",
}


@pytest.fixture(scope="module")
def phase1a(script):
    return script("experiments/phase1a.py")


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> list[str]:
    """Options that name a tiny model and a tiny data set, and make everything small."""
    folder = tmp_path_factory.mktemp("material")
    model = save_tiny_model(folder / "model")
    path = folder / "pairs.jsonl"
    lines = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [
        *("--generator", "transformers", "--set", f"generator.model={model}"),
        *("--set", "generator.device=cpu", "--dataset", "jsonl", "--set", f"dataset.path={path}"),
        *("--slots", "6", "--max-steps", "60", "--attempts", "2", "--baseline-draws", "2"),
        *("--control-pairs", "3", "--control-steps", "25", "--control-slots", "2,6"),
        *("--diagnostic-pairs", "4", "--limit", "5", "--no-track"),
    ]


def be_lenient(patch: pytest.MonkeyPatch) -> None:
    """A random model is worse than guessing, which the protocol rightly stops at."""
    patch.setattr(infrastructure, "BETTER_THAN_GUESSING", 100.0)


@pytest.fixture
def lenient(monkeypatch):
    be_lenient(monkeypatch)


@pytest.fixture(scope="module")
def whole(phase1a, material, tmp_path_factory) -> Path:
    """The folder of a protocol with all its stages."""
    out = tmp_path_factory.mktemp("whole") / "run"
    options = [*material, "--out", str(out), "--stages", "0,1,2,3,4", "--ablate", "slots=2"]
    with pytest.MonkeyPatch.context() as patch:
        be_lenient(patch)
        assert phase1a.main(options) == 0
    return out


def record_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "protocol.json").read_text())


def test_all_stages_run_and_are_recorded(whole):
    record = record_of(whole)
    assert list(record["stages"]) == ["0", "1", "2", "3", "transfer", "controls", "4"]
    assert (record["stopped"], record["forced"]) == (None, [])
    assert record["plan"]["experiment"]["slots"] == 6
    assert record["plan"]["experiment"]["optimizer"]["params"]["count"] == 2
    assert "".join(gate["stage"] for gate in record["gates"]) == "000011223"
    assert record["stages"]["2"]["finished"] == 5
    assert record["stages"]["1"]["answer"]["finished"] == 4
    assert len((whole / "baselines.jsonl").read_text().splitlines()) == 5
    assert [run["label"] for run in record["stages"]["4"]["runs"]] == ["base", "slots=2"]
    assert "minus_base" in record["stages"]["4"]["runs"][1]


def test_every_control_runs_at_every_size_or_is_left_out_with_the_reason(whole):
    controls = record_of(whole)["stages"]["controls"]
    assert [(run["name"], run["slots"]) for run in controls["runs"]] == [
        (name, slots)
        for name in ("true", "shuffled", "random-tokens", "random-init")
        for slots in (2, 6)
    ]
    assert all(run["exact_rate"]["count"] == 3 for run in controls["runs"])
    assert all(run["minus_true"]["steps"]["count"] == 3 for run in controls["runs"][2:])
    assert "no wrong answer" in controls["left_out"]["wrong-answer"]
    # Three pairs are too few for a verdict.
    assert "3 pairs say nothing of true pairs against shuffled ones" in controls["sentence"]
    assert controls["steps_that_matter"] > 0


def test_everything_is_told_in_80_columns(whole):
    report = (whole / "report.txt").read_text()
    assert max(map(len, report.splitlines())) <= 80
    for title in ("Stage 0", "Stage 1", "Stage 2", "Stage 3", "Transfer", "Controls", "Stage 4"):
        assert title in report
    assert "Loss curves" in report


def test_what_is_called_converged_was_measured_on_saved_content(whole):
    rates = record_of(whole)["stages"]["2"]["rates"]
    results = list(read_results(whole / "stage-2").values())
    assert rates["exact"]["value"] == sum(r["exact"] for r in results) / 5
    assert rates["certified"]["value"] == sum(r["certified"] is True for r in results) / 5
    by_hand = [
        all(
            r["losses"][mode] < 0.3 * r["baselines"]["random"][mode]
            or r["losses"][mode] < 2 * r["baselines"]["full_context"][mode]
            for mode in ("question", "answer")
        )
        for r in results
    ]
    assert rates["seed-rule"]["value"] == sum(by_hand) / 5


def test_an_untrained_model_stops_at_a_gate_with_advice_and_status_3(
    phase1a, material, tmp_path, capsys
):
    out = tmp_path / "run"
    options = [*material, "--out", str(out), "--json"]
    options[options.index("transformers")] = "random-init"
    place = options.index("--set")
    model = options[place + 1].removeprefix("generator.model=")
    options[place : place + 4] = [
        *("--set", "generator.generator=transformers"),
        *("--set", f"generator.generator.model={model}"),
        *("--set", "generator.generator.device=cpu"),
    ]
    assert phase1a.main(options) == 3
    record = json.loads(capsys.readouterr().out)
    assert record["stopped"]["stage"] == "0"
    assert "trained weights" in record["stopped"]["reasons"][0]["advice"]
    assert list(record["stages"]) == ["0"]
    assert record == record_of(out)


def test_force_goes_on_and_says_so(phase1a, material, tmp_path, capsys):
    out = tmp_path / "run"
    options = [*material, "--out", str(out), "--stages", "0,1", "--controls", "none", "--force"]
    assert phase1a.main(options) == 0
    record = record_of(out)
    assert record["forced"][0]["gate"] == "loss after text / of guessing"
    assert list(record["stages"]) == ["0", "1"]
    assert "Forced past a failed gate" in capsys.readouterr().out


def test_the_literal_rule_ends_rows_as_soon_as_it_holds(phase1a, material, lenient, tmp_path):
    out = tmp_path / "run"
    options = ["--criterion", "seed-rule", "--decide-by", "seed-rule", "--controls", "none"]
    phase1a.main([*material, *options, "--out", str(out), "--stages", "2"])
    record = record_of(out)
    assert list(record["stages"]) == ["0", "2"]
    assert record["stages"]["2"]["rates"]["seed-rule"]["value"] == 1.0
    results = read_results(out / "stage-2").values()
    assert all(result["status"] == "CONVERGED" for result in results)


def test_a_run_that_was_cut_off_goes_on(phase1a, material, lenient, tmp_path):
    out = tmp_path / "run"
    options = [*material, "--out", str(out), "--stages", "2", "--controls", "none"]
    phase1a.main(options)
    before = record_of(out)
    lines = (out / "stage-2/results.jsonl").read_text().splitlines(keepends=True)
    (out / "stage-2/results.jsonl").write_text("".join(lines[:2]))
    with pytest.raises(Exception, match="cannot take a run"):
        phase1a.main(options)
    assert phase1a.main([*options, "--resume"]) == 0
    after = record_of(out)
    assert after["gates"] == before["gates"]


def test_every_default_is_that_of_the_plan(phase1a):
    plan = phase1a.plan(phase1a.options().parse_args([]))
    assert plan == Plan(plan.experiment)
    assert (plan.experiment.slots, plan.experiment.max_steps) == (32, 500)
    assert plan.experiment.optimizer.count == 5


def inner(optimizer: Any) -> Any:
    return getattr(optimizer, "inner", optimizer)


@pytest.mark.parametrize(
    ("options", "text_scale"),
    [
        ([], 0),
        (["--optimizer", "adam"], 0),
        (["--set", "optimizer=adam"], 0),
        (["--optimizer", "muon"], 0),
        (["--set", "optimizer.inner=muon"], 0),
        (["--set", "optimizer.inner.text_scale=4"], 4),
        (["--optimizer", "adam", "--set", "optimizer.text_scale=4"], 4),
    ],
)
def test_it_starts_from_noise_unless_told_otherwise(phase1a, options, text_scale):
    plan = phase1a.plan(phase1a.options().parse_args(options))
    assert inner(plan.experiment.optimizer).text_scale == text_scale


def test_the_ablations_of_the_plan_are_those_that_the_optimizer_can_take(phase1a):
    options = ["--optimizer", "adam", "--stages", "4"]
    plan = phase1a.plan(phase1a.options().parse_args(options))
    assert "optimizer.start_scale=0" in plan.ablations
    assert plan.ablations["optimizer.lr=0.01"].optimizer.lr == 0.01


def test_an_ablation_asked_for_that_there_is_not_is_refused(phase1a):
    options = ["--optimizer", "adam", "--ablate", "optimizer.inner.lr=1"]
    with pytest.raises(UsageError, match=r"optimizer\.inner"):
        phase1a.plan(phase1a.options().parse_args(options))


def test_an_optimizer_without_that_field_is_left_as_it_is(phase1a):
    options = ["--set", "optimizer.inner=restarts"]
    plan = phase1a.plan(phase1a.options().parse_args(options))
    assert plan.experiment.optimizer.inner == find("optimizer", "restarts")()


@pytest.mark.parametrize("tier", ["squad", "triviaqa", "arithmetic", "sudoku", "arc"])
def test_a_tier_chooses_its_data_set(phase1a, tier):
    options = ["--tier", tier, "--set", "dataset.path=x"]
    plan = phase1a.plan(phase1a.options().parse_args(options))
    assert plan.experiment.describe()["dataset"]["name"] == tier


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stages", "0,9"], "stages 0, 9 were asked for"),
        (["--control-pairs", "1"], "control_pairs = 1"),
        (["--control-slots", "0"], "slots of controls"),
        (["--control-slots", "few"], "Give numbers such as"),
        (["--dataset", "squad", "--set", "dataset.pth=x"], "dataset.path"),
    ],
)
def test_bad_options_are_told(phase1a, options, said):
    with pytest.raises(Exception, match=said):
        phase1a.plan(phase1a.options().parse_args(options))


def test_an_error_is_one_line_and_status_2(tmp_path, python):
    command = [python, str(SCRIPT), "--dataset", "sqad", "--out", str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.splitlines() == ["Error: there is no dataset 'sqad'. Did you mean 'squad'?"]
