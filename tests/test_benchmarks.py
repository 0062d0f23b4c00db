"""The benchmarks run, and what they print as JSON is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def printed(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quick: None,
) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark in this process; the one JSON object that it prints.

    Clocks need not settle where nobody reads the rates.
    """

    def run(name: str, *options: str) -> dict[str, Any]:
        module = script(f"experiments/benchmarks/{name}")
        if hasattr(module, "product_ceiling"):
            monkeypatch.setitem(module.product_ceiling.__globals__, "_SETTLED", 0.01)
        monkeypatch.setattr(sys, "argv", [name, "--json", "--device=cpu", *options])
        capsys.readouterr()
        module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


@pytest.fixture
def benchmark(printed: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """As `printed`, of a benchmark that compares the solver with a loop."""

    def run(name: str, *options: str) -> dict[str, Any]:
        result = printed(name, *options)
        for contestant in (result["solver"], result["loop"]):
            assert contestant["row_steps_per_second"] == pytest.approx(
                contestant["row_steps"] / contestant["seconds"]
            )
        assert 0 < result["solver"]["useful_share"] <= 1
        assert "thread" in result["hardware"]
        return result

    return run


def check_counts(contestant: dict[str, Any], pairs: int) -> None:
    assert contestant["pairs"] == pairs
    assert 0 <= contestant["certified"] <= contestant["exact"] <= pairs
    assert contestant["certified_per_minute"] == pytest.approx(
        60 * contestant["certified"] / contestant["seconds"]
    )


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_throughput_counts_what_a_row_step_needs(benchmark, layout: str) -> None:
    options = ("--lanes=2", "--steps=3", "--slots=4", "--tokens=5", f"--layout={layout}")
    result = benchmark("throughput.py", *options)
    solver, loop = result["solver"], result["loop"]
    assert (solver["lanes"], solver["row_steps"], loop["row_steps"]) == (2, 6, 3)
    assert solver["certified_per_minute"] is loop["certified_per_minute"] is None
    assert result["ratio"] == pytest.approx(
        solver["row_steps_per_second"] / loop["row_steps_per_second"]
    )
    places = {"prefix": 2 * (4 + 5), "suffix": 4 + 2 * 5}[layout]
    assert result["flop_per_row_step"] == of_nano(places, 2 * 5)
    assert result["flop_per_second"] == pytest.approx(
        result["flop_per_row_step"] * solver["row_steps_per_second"]
    )
    assert result["overhead"] < 1
    assert result["share_of_ceiling"] > 0
    assert result["peak_memory_bytes"] > 0
    assert result["settings"]["layout"] == layout


def of_nano(places: int, tokens: int) -> int:
    """FLOP of a row-step with so many positions and target tokens."""
    # A layer: q and o, k and v, three of its MLP, biases of q, k and v, two norms.
    layer = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 832 + (256 + 2 * 128) + 2 * 256
    return 4 * ((6 * layer + 256) * places + 4096 * 256 * tokens)


def test_throughput_of_one_text_a_row(benchmark) -> None:
    options = ("--lanes=2", "--steps=2", "--slots=4", "--tokens=5", "--objective=single")
    assert benchmark("throughput.py", *options)["flop_per_row_step"] == of_nano(4 + 5, 5)


def test_throughput_counts_the_experts_that_a_token_takes(benchmark) -> None:
    options = ("--shape=tiny-moe", "--lanes=2", "--steps=2", "--slots=4", "--tokens=5")
    result = benchmark("throughput.py", *options)
    heads, width, experts, taken = 4 * 64, 64, 4, 2
    attention = 2 * width * heads + heads + width + 2 * (width * heads // 2 + heads // 2) + 4
    router = experts * width + experts
    expert = 3 * width * width + 3 * width
    body = 2 * (attention + router + taken * expert + 2 * width) + width
    assert result["flop_per_row_step"] == 4 * (body * 2 * (4 + 5) + 257 * width * 2 * 5)


def test_limited_memory_needs_a_gpu(python: str) -> None:
    command = [python, "experiments/benchmarks/throughput.py", "--memory-gib=1"]
    done = subprocess.run(
        [*command, "--device=cpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--memory-gib limits a GPU's memory" in done.stderr


def test_time_to_exact(benchmark, tmp_path: Path) -> None:
    passage = "The mill by the river grinds wheat in spring and rye in autumn."
    records = [
        {
            "id": f"mill-{text}",
            "question": f"What does the mill grind in {season}?",
            "is_impossible": False,
            "answers": [{"text": text, "answer_start": passage.index(text)}],
        }
        for text, season in (("wheat", "spring"), ("rye", "autumn"))
    ]
    article = {"title": "Mill", "paragraphs": [{"context": passage, "qas": records}]}
    path = tmp_path / "mill.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}), encoding="utf-8")
    options = (f"--path={path}", "--slots=8", "--max-steps=60", "--loop-limit=1")
    result = benchmark("time_to_exact.py", *options)
    check_counts(result["solver"], 2)
    check_counts(result["loop"], 1)
    check_counts(result["plan_loop"], 1)
    assert result["solver"]["certified"] == 2
    assert result["loop"]["certified"] == 1
    assert 1 <= result["solver"]["median_steps"] <= 60
    rate = result["solver"]["certified_per_minute"]
    assert result["ratio"] == pytest.approx(rate / result["loop"]["certified_per_minute"])
    plan = result["plan_loop"]["certified_per_minute"]
    if plan:
        assert result["ratio_to_plan"] == pytest.approx(rate / plan)
    else:
        assert result["ratio_to_plan"] is None
    assert result["settings"]["loop_limit"] == 1


def test_scaling(benchmark) -> None:
    options = ("--counts", "2", "4", "--lanes=2", "--warm-up=1", "--loop-limit=1")
    result = benchmark("scaling.py", *options)
    assert [each["pairs"] for each in result["counts"]] == [2, 4]
    for each in result["counts"]:
        check_counts(each, each["pairs"])
        assert 0 < each["useful_share"] <= 1
        assert each["seconds_per_pair"] == pytest.approx(each["seconds"] / each["pairs"])
        grown = each["peak_memory_bytes"] - result["counts"][0]["peak_memory_bytes"]
        assert each["peak_growth_bytes"] == grown
    assert result["solver"] == result["counts"][-1]
    check_counts(result["loop"], 1)
    assert result["ratio"] == pytest.approx(
        result["solver"]["certified_per_minute"] / result["loop"]["certified_per_minute"]
    )
    costs = [each["seconds_per_pair"] for each in result["counts"]]
    assert result["cost_spread"] == pytest.approx(max(costs) / min(costs) - 1)


def test_real_texts_counts_what_rows_need(printed) -> None:
    options = ["--pairs=4", "--batch=2", "--batch-pairs=4", "--loop-pairs=1", "--slots=8"]
    result = printed("real_texts.py", *options, "--lanes=4", "--warm-up=0.1", "--seconds=0.5")
    for contestant, pairs in ((result["whole"][0], 4), (result["batch"], 4), (result["loop"], 1)):
        check_counts(contestant, pairs)
        assert contestant["certified"] == pairs
    # A batch that waits computes all its rows until its slowest is done.
    assert result["batch"]["row_steps"] >= result["batch"]["median_steps"] * 4
    sustained = result["sustained"]
    assert sustained["row_steps_per_second"] > 0
    # Two texts, each behind eight slots.
    assert sustained["positions_per_row"] == pytest.approx(
        2 * 8 + sustained["target_tokens_per_row"]
    )


def test_verdicts_are_the_same_in_every_way_of_scoring(script, monkeypatch, tmp_path: Path) -> None:
    squad = tmp_path / "squad.json"
    answer = {"text": "wheat", "answer_start": 30}
    asked = [
        {"id": str(n), "question": f"What is ground in mill {n}?", "answers": [answer]}
        for n in range(2)
    ]
    paragraph = {"context": "The mill by the river grinds wheat.", "qas": asked}
    squad.write_text(json.dumps({"version": "2", "data": [{"paragraphs": [paragraph]}]}))
    options = [f"--path={squad}", "--model=plugins/dcm_nano/model", "--dtype=float32"]
    out = tmp_path / "verdicts.json"
    monkeypatch.setattr(
        sys,
        "argv",
        ["verdicts.py", *options, "--device=cpu", "--pairs=2", "--slots=8", f"--out={out}"],
    )
    script("experiments/benchmarks/verdicts.py").main()
    found = json.loads(out.read_text())
    for way in ("packed", "padded", "one at a time"):
        assert (found[way]["certified"], found[way]["same"]) == (2, 2)
    for way in ("scored, padded", "scored, alone"):
        assert (found[way]["texts"], found[way]["same"]) == (4, 4)
        assert found[way]["largest difference"] < 1e-5


def test_what_a_worker_did_is_told_in_tenths(script) -> None:
    """Finished rows add up, lanes have their time, and times without steps are named."""
    told = script("experiments/benchmarks/scaling_gpus.py").timeline(
        [
            (10.0, 0, 0, 16),
            (11.0, 0, 160, 128),
            (15.0, 5, 160, 128),
            (19.0, 5, 1160, 128),
            (20.0, 25, 1260, 128),
        ],
        10.0,
        20.0,
    )
    assert told["finished"] == [0, 0, 0, 0, 5, 0, 0, 0, 0, 20]
    assert told["row_steps_per_second"] == [160, 0, 0, 0, 0, 0, 0, 0, 1000, 100]
    assert told["lanes_from"] == [(0.0, 16), (1.0, 128)]
    assert told["without_steps"] == [(1.0, 9.0)]


def test_what_one_writer_takes_is_counted(script, monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--pairs", "12", "--slots=2", "--width=8", "--together=5", "--workers=2"]
    module = script("experiments/benchmarks/writer.py")
    monkeypatch.setattr(sys, "argv", ["writer.py", *options])
    module.main()
    told, head, line = capsys.readouterr().out.strip().splitlines()
    assert "[2, 8] float32, 2 workers" in told
    assert head.split()[0] == "results"
    assert line.split()[0] == "12"
    assert not list(tmp_path.iterdir())
