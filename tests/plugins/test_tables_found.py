"""Tables as people have them: delimiters, encodings, names of columns, numbers, lists, folders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dcm
from dcm import DatasetError
from dcm_tables.csv import Csv
from dcm_tables.json import Json
from dcm_tables.jsonl import Jsonl
from dcm_tables.parquet import Parquet
from dcm_tables.tsv import Tsv
from dcm_wrappers.sample import Sample

PAIRS = {
    "Wie heißt „Straße“?": "street",
    'Who wrote "Faust";\n or so?': "Goethe, J. W.",
    "What is 2;3?": "a pair",
    "Price in €?": "100",
}


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def text(
    delimiter: str, end: str = "\r\n", header: tuple[str, str] = ("Question", "Answer")
) -> str:
    rows = [delimiter.join(map(quoted, pair)) for pair in PAIRS.items()]
    return end.join([delimiter.join(header), *rows, ""])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_encoding_and_line_ends_are_found(
    tmp_path: Path, delimiter: str, encoding: str, end: str
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(text(delimiter, end).encode(encoding))
    for seed, limit in [(None, None), (None, 9), (1, None), (1, 9)]:
        dataset = Csv(path, seed=seed, limit=limit)
        assert {each.question: each.answer for each in dataset} == PAIRS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_first_line_for_a_spreadsheet_program_names_the_delimiter(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(f"sep=;\r\n{text(';')}".encode(encoding))
    assert {each.question: each.answer for each in Csv(path)} == PAIRS
    assert {each.question: each.answer for each in Csv(path, seed=1, delimiter=";")} == PAIRS


def test_what_is_found_is_told_and_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(text(",").encode())
    assert Csv(path).remarks == ()
    path.write_bytes(text(";").encode("cp1252"))
    told = (f"{path.name}: encoding cp1252, semicolons between columns",)
    assert Csv(path).remarks == told
    assert Sample(Csv(path), count=2).remarks == told
    path.write_bytes(text("\t").encode("utf-16"))
    assert Tsv(path).remarks == (f"{path.name}: encoding utf-16",)


def test_what_is_given_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes('question,x;answer\n"Łódź?",?;yes\n'.encode("cp1250"))
    dataset = Csv(path, question="question,x", delimiter=";", encoding="cp1250")
    with pytest.raises(DatasetError, match="no CSV"):  # a quotation mark within a cell
        len(dataset)
    path.write_bytes("question,x;answer\nŁódź?,?;yes\n".encode("cp1250"))
    assert dataset.read().examples[0].question == "Łódź?,?"


@pytest.mark.parametrize("delimiter", ["", ";;", "\n", '"'])
def test_a_delimiter_that_cannot_be_one_is_refused(delimiter: str) -> None:
    params = {"path": "a", "delimiter": delimiter}
    with pytest.raises(dcm.UsageError, match="delimiter must be one character"):
        dcm.build({"kind": "dataset", "name": "csv", "params": params})


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text(","))
    with pytest.raises(DatasetError, match="there is no encoding 'latin-99'"):
        len(Csv(tmp_path / "a.csv", encoding="latin-99"))


def test_a_damaged_byte_of_utf8_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("question,answer\nWas heißt Straße?,".encode() + b"x\xff\n")
    with pytest.raises(DatasetError, match=r"a\.csv:2: the row is no utf-8 text\. Byte 0xff"):
        len(Csv(path))


def test_bytes_of_no_known_encoding_ask_for_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer\nx,\x81\x8d\n")
    with pytest.raises(DatasetError, match=r"cannot be told.*encoding=cp1250"):
        len(Csv(path))
    assert Csv(path, encoding="mac_roman")[0].answer == "Åç"


@pytest.mark.parametrize("start", [b"PK\x03\x04rest", b"\xd0\xcf\x11\xe0rest"])
def test_a_workbook_is_refused_with_what_to_do(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "pairs.xlsx").write_bytes(start)
    with pytest.raises(DatasetError, match=r"is a workbook.*Save it as CSV"):
        len(Csv(tmp_path / "pairs.xlsx"))


def test_a_cell_may_be_as_long_as_a_record(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f"question,answer,passage\na?,b,{'long ' * 60_000}\n")
    assert len(Csv(path, context="passage")[0].context or "") == 300_000


def test_a_row_that_is_too_short_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("question,answer\nA?,b\nC?\n")
    with pytest.raises(DatasetError, match=r"short\.csv:3: .*on_error=skip"):
        len(Csv(tmp_path / "short.csv"))


def test_columns_without_a_name_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question;answer;;\nA?;b;;\n")
    assert Csv(tmp_path / "a.csv")[0].answer == "b"


@pytest.mark.parametrize(
    ("value", "answer", "aliases"),
    [
        (4, "4", ()),
        (2.5, "2.5", ()),
        (4.0, "4", ()),
        (12345678901234567890, "12345678901234567890", ()),
        (["four", 4, " ", "four"], "four", ("4",)),
    ],
)
@pytest.mark.parametrize("name", ["answer", "answers", "Answer", " ANSWERS"])
def test_answers_may_be_numbers_and_lists(
    tmp_path: Path, name: str, value: Any, answer: str, aliases: tuple[str, ...]
) -> None:
    rows = [{"question": "2+2?", name: value}, {"question": "Why?", name: None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for dataset in (Jsonl(tmp_path / "a.jsonl"), Json(tmp_path / "a.json")):
        assert (dataset[0].answer, dataset[0].aliases) == (answer, aliases)
        assert dataset.skipped == {"without an answer": 1}


def test_other_accepted_answers_have_columns_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer,Also,or\n2+2?,4,four,\n")
    assert Csv(tmp_path / "a.csv", aliases=["also", "or"])[0].aliases == ("four",)
    row = {"question": "2+2?", "answers": ["4", "four"], "also": ["IV", 4]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert Jsonl(tmp_path / "a.jsonl", aliases="also")[0].aliases == ("four", "IV")


def test_a_list_in_an_object_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rows": [{"question": "a?", "answer": "b"}]}')
    assert Json(tmp_path / "a.json", member="rows")[0].id == "0"
    with pytest.raises(DatasetError, match=r"a\.json: .*must hold a list.*by the field member"):
        len(Json(tmp_path / "a.json"))


def test_parquet_rows_have_numbers_and_lists(tmp_path: Path) -> None:
    rows = [
        {"Question": "a?", "answers": ["b", "c"], "n": 1.0},
        {"Question": "d?", "answers": [], "n": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    dataset = Parquet(tmp_path / "a.parquet")
    assert [(each.id, each.answer, each.aliases) for each in dataset] == [("0", "b", ("c",))]
    assert dataset.skipped == {"without an answer": 1}
    assert Parquet(tmp_path / "a.parquet", answer="n")[0].answer == "1"


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("question,answer\n")
    with pytest.raises(DatasetError, match=r"a\.parquet: the file is no Parquet"):
        len(Parquet(tmp_path / "a.parquet"))


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("question;answer\nb?;2\n;\n")
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("question,answer\na?,1\n")
    (tmp_path / "._b.csv").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "readme.txt").write_text("no table")
    dataset = Csv(tmp_path)
    assert [(each.id, each.answer) for each in dataset] == [("a-2", "1"), ("b-2", "2")]
    assert dataset.skipped == {"without a question": 1}
    assert dataset.remarks == ("b.csv: semicolons between columns",)
    (tmp_path / "c.csv").write_text("question,answer\na?\nc?,3\n")
    with pytest.raises(DatasetError, match=r"c\.csv:2: the row does not fit"):
        len(Csv(tmp_path))
    assert len(Csv(tmp_path, on_error="skip", seed=1)) == 3
    with pytest.raises(DatasetError, match=r"nothing to read\. It has no \.parquet file"):
        len(Parquet(tmp_path))


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("question,answer\na?,1\n")
    assert Csv("~/a.csv")[0].answer == "1"
    assert Csv("~")[0].answer == "1"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("squad", {"id": "a", "answers": {"text": ["b"], "answer_start": [0]}, "context": "b"}),
        ("triviaqa", {"question_id": "a", "answer": {"value": "b", "aliases": ["b", "B"]}}),
        ("natural-questions", {"answer": ["b"]}),
        ("hotpotqa", {"id": "a", "answer": "b", "type": "bridge", "level": "easy"}),
    ],
)
def test_a_published_sets_file_of_the_hub_is_read_as_it_is(
    tmp_path: Path, name: str, record: dict[str, Any]
) -> None:
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([{"question": "Why?", "title": "t", **record}]), path)
    (example,) = dcm.find("dataset", name)(path=path)
    assert (example.question, example.answer) == ("Why?", "b")
