"""The experiments on what real models hold run, stop in time, and write what they promise."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Runs a script with options; what its JSON holds."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))

    def run(name: str, *options: object) -> dict:
        out = tmp_path / f"{name}.json"
        script: ModuleType = importlib.import_module(name)
        script.main(["--data", str(data), "--out", str(out), *map(str, options)])
        return json.loads(out.read_text(encoding="utf-8"))

    return run


def test_capacity_finds_the_longest_prefix_between_what_held_and_what_failed(run) -> None:
    options = ("--texts", 2, "--start", 6, "--max-steps", 15, "--resolution", 0.3)
    found = run("capacity", *options, "--slots", 2, "--first", "predicted", "given")
    assert [each["first"] for each in found["cells"]] == ["predicted", "given"]
    for cell in found["cells"]:
        assert cell["whole"]
        assert cell["tokens"]["count"] == 2
        for text in cell["texts"]:
            held = [trial["length"] for trial in text["trials"] if trial["certified"]]
            failed = [trial["length"] for trial in text["trials"] if not trial["certified"]]
            assert text["tokens"] == max(held)
            # The gap is closed: to 30 % of the length, or a token.
            assert min(failed) - text["tokens"] <= max(1, round(0.3 * text["tokens"]))
            assert text["bits"] > text["nats"] > 0
            assert text["gained"] > 0
            assert text["margin"] > 0


def test_capacity_stops_in_time_with_what_it_has(run) -> None:
    found = run("capacity", "--texts", 2, "--seconds", 3, "--max-steps", 100_000)
    (cell,) = found["cells"]
    assert not cell["whole"]
    assert found["seconds"] < 60


def test_settings_are_compared_on_the_same_texts(run) -> None:
    tried = ["adam text_scale=0", "muon text_scale=0 decay=100", "adam lr=0.1 rank=4 half=50"]
    options = ("--texts", 1, "--lengths", 3, 5, "--max-steps", 20, "--slots", 4)
    found = run("capacity_settings", *options, "--try", *tried)
    assert [each["setting"] for each in found["settings"]] == tried
    for each in found["settings"]:
        ids = [text["id"] for length in each["lengths"].values() for text in length["texts"]]
        assert sorted(ids) == ["books 0@3", "books 0@5"]
        assert all(text["loss"] > 0 for one in each["lengths"].values() for text in one["texts"])
    assert found["settings"][0]["lengths"]["3"]["certified"] == 1


def test_known_pairs_are_compared_with_unknown_and_shuffled_ones(run) -> None:
    found = run(
        "known", "--sources", "sums", "--candidates", 60, "--pairs", 10, "--slots", 8, "--seeds", 1,
        "--max-steps", 60, "--caliper", 9,
    )  # fmt: skip
    source = found["sources"]["sums"]
    assert 2 <= source["known"] <= 60
    assert source["asked"] == 60
    assert set(source["balance"]) == {
        "question_tokens", "answer_tokens", "question_nats", "answer_nats",
    }  # fmt: skip
    for other in ("unknown", "shuffled"):
        (each,) = [
            one for one in found["comparisons"] if (one["other"], one["source"]) == (other, "all")
        ]
        assert each["steps"]["low"] <= each["steps"]["value"] <= each["steps"]["high"]
        assert each["matters"] == pytest.approx(0.1 * each["known_steps"])
        assert "known pairs" in each["said"]
    assert {each["source"] for each in found["transfer"]} == {"all", "sums"}


def test_harm_is_measured_with_and_without_a_penalty(run) -> None:
    found = run(
        "harm", "--pairs", 3, "--slots", 8, "--max-steps", 60, "--passages", 1, "--questions", 1,
        "--guards", 2, "--guard-tokens", 8, "--passage-tokens", 32, "--question-sets", "triviaqa",
    )  # fmt: skip
    free, guarded = found["cells"]
    assert (free["weight"], guarded["weight"]) == (0.0, 1.0)
    assert set(free["arms"]) == {"none", "content", "noise", "permuted", "text"}
    assert free["arms"]["none"]["more"]["value"] == 0
    assert free["arms"]["content"]["more"]["count"] == free["certified"] == 3
    for arm in free["arms"].values():
        assert set(arm["accuracy"]) == {"triviaqa"}
    assert guarded["harmless"] <= guarded["ended"] == 3
    assert guarded["row_steps"]["count"] == 3


def test_exact_is_held_against_decoding_by_margin_and_batch(run) -> None:
    found = run(
        "decodability", "--dtypes", "float32", "--margins", 0, 1, "--texts", 3, "--tokens", 6,
        "--singles", 2, "--max-steps", 60, "--slots", 8,
    )  # fmt: skip
    assert [(each["set"], each["margin"]) for each in found["cells"]] == [
        ("pairs", 0.0), ("pairs", 1.0), ("passages", 0.0), ("passages", 1.0),
    ]  # fmt: skip
    for cell in found["cells"]:
        assert set(cell["decoded"]) == {"256", "8", "1"}
        assert cell["decoded"]["256"]["verbatim"]["count"] == cell["exact"] > 0
        assert cell["margins"]["least"] > cell["margin"] or cell["margin"] == 1
        assert sum(each["verbatim"]["count"] for each in cell["by_margin"]) == cell["exact"]


def test_the_space_of_contents_is_held_against_noise_and_tokens(run) -> None:
    found = run(
        "embedding_space", "--sets", "squad", "arithmetic", "--pairs", 2, "--attempts", 2,
        "--slots", 4, "--max-steps", 80,
    )  # fmt: skip
    assert found["contents"] == 8
    assert set(found["nearness"]) == {"content", "start", "way", "noise", "tokens"}
    # A token lies nearer to other tokens than anything that was optimised.
    near = {name: each["nearest_cosine"]["value"] for name, each in found["nearness"].items()}
    assert near["tokens"] > near["content"]
    assert set(found["together"]["way"]["cosine"]) == {
        "same pair", "same topic", "same set", "other set",
    }  # fmt: skip
    assert len(found["norms"]["by_slot"]) == 4
    assert [each["slot"] for each in found["left_out"]["zero"]] == [0, 1, 2, 3]
    assert found["left_out"]["share_of_the_most_important"][-1] == pytest.approx(1)
    assert len(found["picture"]["points"]) == 8
    for arm in ("content", "noise", "words"):
        attention = found["attention"][arm]
        for parts in zip(*(attention[part] for part in ("mode", "content", "text")), strict=True):
            assert sum(parts) == pytest.approx(1, abs=1e-3)


def test_the_landscape_has_barriers_radii_and_a_hessian(run) -> None:
    found = run(
        "loss_landscape", "--pairs", 2, "--attempts", 2, "--slots", 4, "--max-steps", 80,
        "--directions", 1, "--eigenvalues", 2, "--rounds", 6,
    )  # fmt: skip
    assert found["contents"] == 4
    assert found["barriers"]["lines"] == 2
    assert found["barriers"]["loss"][10] > found["barriers"]["loss"][0]
    losses = found["radii"]["loss"]
    assert losses[-1] > losses[0]
    first, second = (each["median"] for each in found["eigenvalues"])
    assert first > second > 0
    assert {"margin", "borne", "rounded"} <= set(found["against"])
    assert len(found["plane"]["loss"]) == len(found["plane"]["y"])
