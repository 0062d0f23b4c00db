"""Tables: one's own pairs in JSONL and CSV."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dcm
from dcm import DatasetError, Example
from dcm_tables.csv import Csv
from dcm_tables.json import Json
from dcm_tables.jsonl import Jsonl
from dcm_tables.parquet import Parquet
from dcm_tables.tsv import Tsv

ROWS = [
    {"question": "one?", "answer": "1", "name": "a", "passage": "x"},
    {"question": "two?", "answer": "2", "name": "b", "passage": ""},
    {"question": "three?", "answer": "3", "name": "c", "passage": "z"},
]


def table(kind: str, folder: Path, rows: list[dict[str, Any]], **fields: Any) -> Jsonl | Csv:
    path = folder / f"table.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Jsonl(str(path), **fields)
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return Csv(str(path), **fields)


both = pytest.mark.parametrize("kind", ["jsonl", "csv"])


def test_a_path_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('question,answer\n"What, then?",This\nWho?,"A ""B"""\n')
    assert list(Csv(str(path))) == [
        Example("2", "What, then?", "This"),
        Example("3", "Who?", 'A "B"'),
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "What?", "answer": "This"}\n')
    assert list(Jsonl(str(path))) == [Example("1", "What?", "This")]


@both
def test_columns_are_chosen_by_name(tmp_path: Path, kind: str) -> None:
    rows = [{"q": row["question"], **row} for row in ROWS]
    dataset = table(kind, tmp_path, rows, question="q", id="name", context="passage")
    assert list(dataset) == [
        Example("a", "one?", "1", context="x"),
        Example("b", "two?", "2"),
        Example("c", "three?", "3", context="z"),
    ]


def test_paraphrases_stand_in_a_list_in_jsonl(tmp_path: Path) -> None:
    given: list[Any] = [["1?", " ", "one, then?", "1?"], "1?", "", [], None]
    rows = [{**ROWS[0], "other": other} for other in given]
    dataset = table("jsonl", tmp_path, rows, variants="other")
    found = [each.variants.get("question", ()) for each in dataset]
    assert found == [("1?", "one, then?"), ("1?",), (), (), ()]


def test_paraphrases_stand_in_columns_of_their_own_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('question,answer,first,second\na?,1,"[""b?"", c?]",d?\ne?,2,,f?\ng?,3,,\n')
    dataset = Csv(str(path), variants=["first", "second"])
    assert [each.variants for each in dataset] == [
        {"question": ('["b?", c?]', "d?")},
        {"question": ("f?",)},
        {},
    ]
    dataset = Csv(str(path), variants="second", answer_variants="first")
    assert [each.variants for each in dataset] == [
        {"question": ("d?",), "answer": ('["b?", c?]',)},
        {"question": ("f?",)},
        {},
    ]


def test_columns_of_paraphrases_follow_each_other_in_jsonl_too(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "some": ["b?", "c?"], "one": "d?"}]
    dataset = table("jsonl", tmp_path, rows, variants=["one", "some"])
    assert dataset[0].variants == {"question": ("d?", "b?", "c?")}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "field 'other' must be text, a number or a list of them. It holds True"),
        ([["b?"]], "field 'other' must be text, a number or a list of them"),
        ({"b": "c"}, "field 'other' must be text, a number or a list of them"),
        (["\ud800"], "the record is malformed"),
    ],
)
def test_malformed_paraphrases_are_named_or_skipped(
    tmp_path: Path, value: Any, message: str
) -> None:
    rows = [{**ROWS[0], "other": []}, {**ROWS[1], "other": value}]
    with pytest.raises(DatasetError, match=rf"table\.jsonl:2: {message}"):
        len(table("jsonl", tmp_path, rows, variants="other"))
    dataset = table("jsonl", tmp_path, rows, variants="other", on_error="skip")
    assert len(dataset) == 1
    assert dataset.skipped == {"malformed": 1}


@both
@pytest.mark.parametrize("column", ["question", "answer", "id", "context", "variants"])
def test_a_missing_column_names_those_that_are_there(
    tmp_path: Path, kind: str, column: str
) -> None:
    dataset = table(kind, tmp_path, ROWS, **{column: "passages"})
    wanted = (
        r"'passages'.* It has .*'question', 'answer', 'name', 'passage'. Did you mean 'passage'"
    )
    with pytest.raises(DatasetError, match=rf"table\.{kind}:1: .*{wanted}"):
        len(dataset)


def test_a_header_of_other_names_says_how_to_name_them(tmp_path: Path) -> None:
    (tmp_path / "german.csv").write_text("Frage;Antwort\nWarum?;darum\n")
    told = r"no column 'question'.*'Frage', 'Antwort'.*--set dataset\.question=NAME"
    with pytest.raises(DatasetError, match=told):
        len(dcm.find("dataset", "csv")(path=str(tmp_path / "german.csv")))


@both
def test_rows_without_question_or_answer_are_left_out(tmp_path: Path, kind: str) -> None:
    rows = [{**ROWS[0], "answer": " "}, {**ROWS[0], "question": ""}, *ROWS]
    dataset = table(kind, tmp_path, rows)
    assert len(dataset) == 3
    assert dataset.skipped == {"without an answer": 1, "without a question": 1}


@both
def test_ids_by_line_do_not_depend_on_the_choice(tmp_path: Path, kind: str) -> None:
    rows = [{"question": f"q{i}", "answer": "a"} for i in range(20)]
    first = 1 if kind == "jsonl" else 2
    for choice in ({}, {"seed": 3}, {"limit": 4, "offset": 5}, {"limit": 4, "seed": 5}):
        for example in table(kind, tmp_path, rows, **choice):
            assert int(example.id) == int(example.question[1:]) + first


@both
def test_two_rows_with_one_id_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DatasetError, match="id 'a' occurs twice"):
        len(table(kind, tmp_path, [*ROWS, ROWS[0]], id="name"))


def test_malformed_rows_are_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n{"question": "a", "answer": {}}\n{\n')
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: field 'answer' must be text, a number"):
        len(Jsonl(str(path)))
    assert Jsonl(str(path), on_error="skip").skipped == {"malformed": 2}
    path = tmp_path / "a.csv"
    path.write_text("question,answer\na,b\na,b,c\n")
    with pytest.raises(DatasetError, match=r"a\.csv:3: the row does not fit its header"):
        len(Csv(str(path)))
    assert Csv(str(path), on_error="skip").skipped == {"malformed": 1}


@pytest.mark.parametrize("cls", [Jsonl, Csv, Tsv, Json, Parquet])
@pytest.mark.parametrize("variants", ["v", ("v", "w"), ()])
def test_the_serial_form_gives_it_back(cls: Any, variants: Any) -> None:
    columns = {"question": "q", "answer": "a", "id": "i", "context": "c", "variants": variants}
    columns |= {"aliases": ("x", "y")}
    dataset = cls("a", **columns, limit=1, on_error="skip")
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


@pytest.mark.parametrize("variants", [5, [5], None])
def test_columns_that_are_no_names_are_refused(variants: Any) -> None:
    params = {"path": "a", "variants": variants}
    with pytest.raises(dcm.UsageError, match="'csv' cannot be built"):
        dcm.build({"kind": "dataset", "name": "csv", "params": params})


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    row = json.dumps({"question": "what " * 800, "answer": "yes"}) + "\n"
    path.write_text(row * 20_000)  # 80 MB
    measured = (
        "import sys, tracemalloc, itertools\n"
        "from dcm_tables.jsonl import Jsonl\n"
        "import numpy\n"
        "tracemalloc.start()\n"
        "dataset = Jsonl(sys.argv[1], seed=1)\n"
        "assert len(dataset) == 20_000\n"
        "assert all(example.answer == 'yes' for example in itertools.islice(dataset, 100))\n"
        "assert len(Jsonl(sys.argv[1], seed=1, limit=9)) == 9\n"
        "print(tracemalloc.get_traced_memory()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4_000_000
