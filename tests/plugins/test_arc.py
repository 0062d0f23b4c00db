"""ARC: reading tasks, their text form, augmentation and grading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcm
from dcm import DatasetError, Example
from dcm_puzzles.arc import Arc
from dcm_puzzles.grids import Augmentation, parse, parse_question, render, render_question

TASK: dict[str, Any] = {
    "train": [
        {"input": [[1, 2]], "output": [[2], [1]]},
        {"input": [[3, 4, 5]], "output": [[5], [4], [3]]},
    ],
    "test": [{"input": [[6, 7]], "output": [[7], [6]]}, {"input": [[0]], "output": [[0]]}],
}
HIDDEN = {**TASK, "test": [{"input": test["input"]} for test in TASK["test"]]}

grids = st.integers(1, 30).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 9), min_size=width, max_size=width).map(tuple),
        min_size=1,
        max_size=30,
    ).map(tuple)
)
small_grids = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=3).map(
    tuple
)
changes = st.builds(
    Augmentation,
    mirrored=st.booleans(),
    turns=st.integers(0, 3),
    colours=st.permutations(range(10)),
)


def written(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def changed(change: dict[str, Any]) -> dict[str, Any]:
    """TASK with one part set, by path: {"train.0.input": ...}."""
    task = json.loads(json.dumps(TASK))
    for path, value in change.items():
        *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target = task
        for part in parts:
            target = target[part]
        target[last] = value
    return task


# --- text form ---------------------------------------------------------------------------------


def test_the_stated_form(tmp_path):
    dataset = Arc(path=written(tmp_path / "some.json", TASK))
    assert list(dataset) == [
        Example(
            "some-0",
            "12\n->\n2\n1\n\n345\n->\n5\n4\n3\n\n67",
            "7\n6",
            metadata={"task": "some", "test": 0},
        ),
        Example(
            "some-1",
            "12\n->\n2\n1\n\n345\n->\n5\n4\n3\n\n0",
            "0",
            metadata={"task": "some", "test": 1},
        ),
    ]


@given(grids)
def test_render_and_parse_are_inverse(grid):
    assert parse(render(grid)) == grid


@given(st.lists(st.tuples(small_grids, small_grids), max_size=3).map(tuple), small_grids)
def test_render_question_and_parse_question_are_inverse(demonstrations, test):
    assert parse_question(render_question(demonstrations, test)) == (demonstrations, test)


@given(st.text("0123\n") | st.text("01\n->", max_size=12) | st.text())
def test_parse_takes_only_what_render_writes(text):
    for read, write in ((parse, render), (parse_question, lambda parts: render_question(*parts))):
        try:
            found = read(text)
        except ValueError:
            continue
        assert write(found) == text


@pytest.mark.parametrize(
    "text", ["", "12\n3", "1 2", "1\n\n2", "1\n", "\u0661", "1" * 31, "1\n" * 30 + "1"]
)
def test_what_is_no_grid_is_refused(text):
    with pytest.raises(ValueError, match="grid"):
        parse(text)


# --- reading -----------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_of_names(tmp_path):
    for name in ("b", "a"):
        written(tmp_path / f"{name}.json", TASK)
    (tmp_path / "list.txt").write_text("a")
    dataset = Arc(path=str(tmp_path))
    assert [example.id for example in dataset] == ["a-0", "a-1", "b-0", "b-1"]
    assert [example.id for example in Arc(path=str(tmp_path), offset=1, limit=2)] == ["a-1", "b-0"]


def test_competition_files(tmp_path):
    challenges = written(tmp_path / "challenges.json", {"x": HIDDEN, "y": HIDDEN})
    solutions = written(
        tmp_path / "solutions.json", {"y": [[[1]], [[2]]], "x": [[[3]], [[4]]], "z": []}
    )
    dataset = Arc(path=challenges, solutions=solutions)
    assert {e.id: e.answer for e in dataset} == {"x-0": "3", "x-1": "4", "y-0": "1", "y-1": "2"}


def test_hidden_outputs_are_left_out_and_counted(tmp_path):
    half = changed({"test.0": {"input": [[6, 7]]}})
    path = written(tmp_path / "tasks.json", {"x": half, "y": TASK, "z": HIDDEN})
    dataset = Arc(path=path, augment=2)
    assert [e.id for e in dataset][:3] == ["x-1", "y-0", "y-1"]
    assert len(dataset) == 9
    assert dataset.skipped == {"hidden output": 3}
    with pytest.raises(DatasetError, match="the set is empty"):
        len(Arc(path=written(tmp_path / "z.json", HIDDEN)))


def test_how_many_demonstrations_are_shown(tmp_path):
    path = written(tmp_path / "some.json", TASK)
    assert Arc(path=path, demonstrations=0)[0].question == "67"
    assert Arc(path=path, demonstrations=1)[0].question == "12\n->\n2\n1\n\n67"
    assert Arc(path=path, demonstrations=9)[0] == Arc(path=path)[0]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"train": {}}, "field 'train' must be list"),
        ({"test": []}, "'test' is empty"),
        ({"train.1": 3}, r"train\[1\]: an object is expected"),
        ({"train.1": {"input": [[1]]}}, r"train\[1\]: field 'output' is missing"),
        ({"train.0.input": []}, r"train\[0\]\.input: a grid is a list of 1 to 30 rows"),
        ({"train.0.input": [[1]] * 31}, r"train\[0\]\.input: a grid .* It is a list of 31"),
        ({"train.0.output": [[]]}, r"train\[0\]\.output\[0\]: a row is a list of 1 to 30 cells"),
        ({"test.0.input": [[1] * 31]}, r"test\[0\]\.input\[0\]: a row is"),
        ({"test.1.output": [[1, 2], [1]]}, r"test\[1\]\.output\[1\]: the grid is not rectangular"),
        ({"test.1.input": [[1, 10]]}, r"test\[1\]\.input\[0\]\[1\]: a cell .* It is 10"),
        ({"test.1.input": [[True]]}, r"test\[1\]\.input\[0\]\[0\]: a cell .* It is True"),
        ({"test.1.input": [[1.0]]}, r"a cell .* It is 1\.0"),
        ({"test.1.output": "12"}, r"test\[1\]\.output: a grid .* It is '12'"),
    ],
)
def test_malformed_tasks_are_named_by_file_and_path(tmp_path, change, error):
    bad = changed(change)
    with pytest.raises(DatasetError, match=rf"some\.json: {error}|some\.json: .*{error}"):
        len(Arc(path=written(tmp_path / "some.json", bad)))
    path = written(tmp_path / "tasks.json", {"bad": bad, "good": TASK})
    with pytest.raises(DatasetError, match=rf"tasks\.json: bad.*{error}"):
        len(Arc(path=path))
    lenient = Arc(path=path, on_error="skip")
    assert [example.id for example in lenient] == ["good-0", "good-1"]
    assert lenient.skipped == {"malformed": 1}


def test_solutions_that_do_not_fit_are_refused(tmp_path):
    path = written(tmp_path / "challenges.json", {"x": HIDDEN})
    for wrong, error in (
        ({"y": []}, "field 'x' is missing"),
        ({"x": [[[1]]]}, "It has 1 outputs, the task has 2"),
        ({"x": [[[1]], [[77]]]}, r"solutions\.json: x\[1\]\[0\]\[0\]: a cell"),
    ):
        with pytest.raises(DatasetError, match=error):
            len(Arc(path=path, solutions=written(tmp_path / "solutions.json", wrong)))


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1", "null"])
def test_a_file_that_holds_no_tasks_is_refused_or_left_out_of_a_folder(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    written(tmp_path / "good.json", TASK)
    for path in (tmp_path, tmp_path / "bad.json"):
        with pytest.raises(DatasetError, match=r"bad\.json"):
            len(Arc(path=str(path)))
    assert len(Arc(path=str(tmp_path), on_error="skip")) == 2


def test_what_a_mac_leaves_beside_each_file_is_no_task(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(TASK))
    (tmp_path / "._a.json").write_bytes(b"\x00\x05\x16\x07")
    assert [example.id for example in Arc(path=str(tmp_path))] == ["a-0", "a-1"]


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"It has no \.json file"):
        len(Arc(path=str(tmp_path)))


# --- augmentation ------------------------------------------------------------------------------


@given(changes, grids)
def test_invert_takes_back_what_apply_did(change, grid):
    assert change.invert(change.apply(grid)) == grid
    assert parse(render(change.apply(grid))) == change.apply(grid)


def test_a_mirrored_turned_and_recoloured_grid():
    grid = ((1, 2, 3), (4, 5, 6))
    assert Augmentation(mirrored=True).apply(grid) == ((3, 2, 1), (6, 5, 4))
    assert Augmentation(turns=1).apply(grid) == ((4, 1), (5, 2), (6, 3))
    assert Augmentation(colours=(0, 9, 2, 3, 4, 5, 6, 7, 8, 1)).apply(grid) == (
        (9, 2, 3),
        (4, 5, 6),
    )
    all_eight = {
        Augmentation(mirrored=mirrored, turns=turns).apply(grid)
        for mirrored in (False, True)
        for turns in range(4)
    }
    assert len(all_eight) == 8


@pytest.mark.parametrize("wrong", [{"turns": 4}, {"colours": (1,) * 10}, {"colours": range(9)}])
def test_wrong_augmentations_are_refused(wrong):
    with pytest.raises(ValueError, match=r"turns|colours"):
        Augmentation(**wrong)


def test_copies_follow_the_originals_and_can_be_taken_back(tmp_path):
    path = written(tmp_path / "some.json", TASK)
    dataset = Arc(path=path, augment=20)
    originals = list(Arc(path=path))
    assert list(dataset)[:2] == originals
    assert [e.id for e in dataset][2:6] == ["some-0~1", "some-1~1", "some-0~2", "some-1~2"]
    for copy in list(dataset)[2:]:
        change = Augmentation(**json.loads(json.dumps(copy.metadata["augmentation"])))
        demonstrations, test = parse_question(copy.question)
        back = [(change.invert(before), change.invert(after)) for before, after in demonstrations]
        original = originals[copy.metadata["test"]]
        assert render_question(back, change.invert(test)) == original.question
        assert render(change.invert(parse(copy.answer))) == original.answer
    assert len({e.question for e in dataset}) == 42
    kinds = {
        (c["mirrored"], c["turns"]) for c in (e.metadata["augmentation"] for e in list(dataset)[2:])
    }
    assert len(kinds) > 4


def test_a_copy_depends_on_seed_task_and_number_alone(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / f"{name}.json", TASK)
    both = {e.id: e for e in Arc(path=str(tmp_path), augment=3)}
    alone = {e.id: e for e in Arc(path=str(tmp_path / "b.json"), augment=1)}
    assert alone["b-0~1"] == both["b-0~1"]
    assert both["a-0~1"].question != both["b-0~1"].question
    assert Arc(path=str(tmp_path), augment=1, seed=1)[5].question != both["a-1~1"].question


# --- grading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "exact", "size", "cells"),
    [
        ("12\n34\n56", 1, 1, 1),
        ("\n12\n34\n56 ", 1, 1, 1),
        ("12\n34\n57", 0, 1, 5 / 6),
        ("00\n00\n00", 0, 1, 0),
        ("12\n34", 0, 0, 0),
        ("123\n456", 0, 0, 0),
        ("123456", 0, 0, 0),
        ("12\n3\n56", 0, 0, 0),
        ("none", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_grades(text, exact, size, cells):
    grades = Arc(path="unread").grade(Example("1", "0", "12\n34\n56"), text)
    assert grades == {"exact_grid": exact, "size_right": size, "cell_accuracy": cells}


# --- real tasks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "tasks", "pairs", "tests"),
    [
        ("ARC-AGI-1/data/training", 400, 1302, 416),
        ("ARC-AGI-1/data/evaluation", 400, 1363, 419),
        ("ARC-AGI-2/data/training", 1000, 3232, 1076),
    ],
)
def test_real_tasks(data, folder, tasks, pairs, tests):
    path = data / "arc" / folder
    dataset = Arc(path=str(path))
    assert len(dataset) == tests
    assert dataset.skipped == {}
    first = [example for example in dataset if example.metadata["test"] == 0]
    assert len(first) == tasks
    assert sum(len(parse_question(example.question)[0]) for example in first) == pairs
    for example in first[:20]:
        task = json.loads((path / f"{example.metadata['task']}.json").read_text())
        shown = [(pair["input"], pair["output"]) for pair in [*task["train"], task["test"][0]]]
        demonstrations, test = parse_question(example.question)
        found = [*demonstrations, (test, parse(example.answer))]
        assert json.loads(json.dumps(found)) == [list(pair) for pair in shown]
        assert set(dataset.grade(example, example.answer).values()) == {1}


# --- form and robustness -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset",
    [Arc(path="a"), Arc("a", "b", demonstrations=0, augment=3, seed=2, limit=4, offset=1)],
)
def test_describe_and_build(dataset):
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.json"


GOOD = json.dumps({"x": TASK, "y": HIDDEN}).encode()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 11) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["train", "test", "input", "output", "x"]), inner, max_size=3
        )
    ),
)


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end])
    | st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=3)).map(
        lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + 1 :]
    )
)
def test_damaged_files_are_read_or_refused(scratch, content):
    scratch.write_bytes(content)
    try:
        examples = list(Arc(path=str(scratch)))
    except DatasetError:
        return
    assert all(render(parse(example.answer)) == example.answer for example in examples)
