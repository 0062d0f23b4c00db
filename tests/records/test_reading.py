"""Reading files: places in messages, malformed content, streaming."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm import DatasetError, Example
from dcm.reading import (
    Collected,
    JsonItems,
    Unusable,
    collect,
    csv_rows,
    field,
    head,
    identifier,
    json_document,
    json_lines,
    numbered,
    text_lines,
    texts,
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(count: int) -> str:
    return "".join(json.dumps({"id": f"p{i}", "q": f"what is {i}?"}) + "\n" for i in range(count))


def parse(record: Any, place: str) -> Example:
    question = field(record, "q", str, place)
    if question == "skip":
        raise Unusable("asked to skip")
    return Example(identifier(record, "id", place), question, "yes")


def ids(collected: Collected) -> list[str]:
    return [example.id for example in collected.examples]


# --- files ------------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "train.json", "{}")
    with pytest.raises(DatasetError, match=r"no file .*trian\.json.*train\.json is there"):
        json_document(tmp_path / "trian.json")
    with pytest.raises(DatasetError, match=r"There is no folder .*nowhere"):
        json_document(tmp_path / "nowhere" / "train.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a folder"):
        list(text_lines(tmp_path))


def test_an_impossible_path_is_a_dataset_error() -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        json_document("a\0b")


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_compressed_files_are_decompressed(tmp_path: Path, ending: str) -> None:
    pack = gzip.compress if ending == "gz" else lzma.compress
    path = write(tmp_path / f"a.jsonl.{ending}", pack(pairs(3).encode()))
    assert ids(collect(json_lines(path), parse)) == ["p0", "p1", "p2"]
    assert ids(collect(json_lines(path), parse, limit=2, seed=0)) == ids(
        collect(json_lines(write(tmp_path / "a.jsonl", pairs(3))), parse, limit=2, seed=0)
    )


@pytest.mark.parametrize("ending", ["gz", "xz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "plain"])
def test_wrong_compression_is_a_dataset_error(tmp_path: Path, ending: str, damage: str) -> None:
    packed = (gzip.compress if ending == "gz" else lzma.compress)(random.Random(0).randbytes(999))  # noqa: S311
    middle = len(packed) // 2
    content = {
        "cut": packed[:middle],
        "flipped": packed[:middle] + bytes(255 - b for b in packed[middle:]),
        "plain": b"plain text",
    }[damage]
    with pytest.raises(DatasetError, match=r"a\.(gz|xz)"):
        list(text_lines(write(tmp_path / f"a.{ending}", content)))


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    assert json_document(write(tmp_path / "a.json", mark + b"[1]")) == [1]
    assert [r for _, r in json_lines(write(tmp_path / "a.jsonl", mark + b"[1]\n[2]"))] == [[1], [2]]
    assert [r for _, r in JsonItems(write(tmp_path / "b.json", mark + b"[1]"))] == [1]
    assert [r for _, r in csv_rows(write(tmp_path / "a.csv", mark + b"q\nx\n"))] == [{"q": "x"}]
    assert head(tmp_path / "a.json") == b"[1]"


def test_another_encoding_is_named_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'["a"]\n' + '["é"]\n'.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: the line is no UTF-8 text.*0xe9"):
        list(json_lines(path))
    with pytest.raises(DatasetError, match=r"utf16\.json"):
        json_document(write(tmp_path / "utf16.json", "{}".encode("utf-16")))


# --- lines and rows ---------------------------------------------------------------------------


def test_lines_have_places_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\r\n\n \t\nfour\u2028still four")
    assert list(text_lines(path)) == [(f"{path}:1", "one"), (f"{path}:4", "four\u2028still four")]


@pytest.mark.parametrize("line", ["{", "nothing", "[" * 100_000, "9" * 5_000, '{"a": 1} 2', "\0"])
def test_a_line_that_is_no_json_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.jsonl", f"[1]\n{line}\n")
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: the line is no JSON"):
        list(json_lines(path))


def test_csv_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'q,a\n"x, ""y""\nz",1\n\n2,3\n')
    assert list(csv_rows(path)) == [
        (f"{path}:2", {"q": 'x, "y"\nz', "a": "1"}),
        (f"{path}:5", {"q": "2", "a": "3"}),
    ]


def test_csv_rows_are_found_again_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,q\r\na,"1\r\n1"\r\nb,2\r\nc,"3"\r\n')
    found = collect(csv_rows(path), parse, seed=1).examples
    assert {each.id: each.question for each in found} == {"a": "1\r\n1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.csv: the file is empty"),
        ("q,q\n1,2\n", r"a\.csv:1: two columns have one name: q"),
        ("q,a\n1,2,3\n", r"a\.csv:2: the row does not fit its header. It has 3 cells.*has 2"),
        ('q,a\n1,"2\n', r"a\.csv:2: the row is no CSV"),
        ('q,a\n1,"2"3\n', r"a\.csv:2: the row is no CSV"),
    ],
)
def test_malformed_csv_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(csv_rows(write(tmp_path / "a.csv", content)))


def test_rows_after_a_malformed_one_are_read(tmp_path: Path) -> None:
    rows = b'id,q\na,1\nb\n"c"x,3\nd,\xff\ne,5\n'
    table = csv_rows(write(tmp_path / "a.csv", rows), encoding="utf-8")
    collected = collect(table, parse, on_error="skip")
    assert ids(collected) == ["a", "e"]
    assert collected.skipped == {"malformed": 3}


# --- documents --------------------------------------------------------------------------------


def test_items_of_a_member_have_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"version": {"data": [0]}, "data": [1, {"b": []}], "z": 1}')
    assert list(JsonItems(path, "data")) == [
        (f"{path}: data[0]", 1),
        (f"{path}: data[1]", {"b": []}),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.lists(json_values), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_items_are_those_of_the_whole_document(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], indent: Any, ascii: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = json.dumps(items, indent=indent, ensure_ascii=ascii)
    path = write(folder / "list.json", text.encode("utf-8", "replace"))
    wanted = json_document(path)
    assert [item for _, item in JsonItems(path)] == wanted
    member = f'{{"a": {text}, "data": {text}}}'.encode("utf-8", "replace")
    path = write(folder / "member.json", member)
    assert [item for _, item in JsonItems(path, "data")] == wanted


def test_items_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    items = ["x" * 300_000, 7 * 10**300, {'\\"': "\n\u20ac" * 200_000}, -1.5e300, True]
    for ascii in (True, False):
        path = write(tmp_path / "a.json", json.dumps(items * 3, ensure_ascii=ascii))
        assert [item for _, item in JsonItems(path)] == items * 3


def test_a_document_is_read_only_as_far_as_asked(tmp_path: Path) -> None:
    records = ", ".join(json.dumps({"id": f"p{i}", "q": "x" * 1000}) for i in range(200))
    path = write(tmp_path / "a.json", f"[{records}, broken")
    assert ids(collect(JsonItems(path), parse, limit=3)) == ["p0", "p1", "p2"]
    with pytest.raises(DatasetError, match="no JSON"):
        collect(JsonItems(path), parse)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"data": [1,\n 2', 2),
        ('{"data": [1,\n 2]', 2),
        ('{"data": [1,\n "2', 2),
        ('{"data": [\n\n1 2]}', 3),
        ('{"data": [1]}\n{}', 2),
        ('{"data": [1}]', 1),
        ('{"data": [1,]}', 1),
        ('{"data": [1]\n, 5: 6}', 2),
        ('{"data": [\n' + "[" * 100_000, 2),
        ('{"data": [\n' + "9" * 5_000 + "]}", 2),
        ('{"data": [' + "1,\n" * 100_000 + "x]}", 100_001),
    ],
)
def test_a_broken_document_is_named_with_its_line(tmp_path: Path, content: str, line: int) -> None:
    path = write(tmp_path / "a.json", content)
    for on_error in ("stop", "skip"):  # what is no JSON at all stops in any case
        with pytest.raises(DatasetError, match=rf"a\.json:{line}: the text is no JSON"):
            collect(JsonItems(path, "data"), lambda item, place: Example(place, "q", "a"),
                    on_error=on_error)  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "The document is no object"),
        ("", "The document is no object"),
        ("{}", "It is empty"),
        ('{"Data": []}', r"It has the members 'Data'. Did you mean 'Data'\?"),
    ],
)
def test_a_document_of_another_layout_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"must hold a list 'data'.*{message}"):
        list(JsonItems(write(tmp_path / "a.json", content), "data"))


# --- checks -----------------------------------------------------------------------------------


def test_a_missing_field_names_those_that_are_there() -> None:
    with pytest.raises(
        DatasetError, match=r"here: field 'question' is missing. It has 'questions'. Did you mean"
    ):
        field({"questions": 1}, "question", str, "here")


@pytest.mark.parametrize("value", [1, None, [], True])
def test_a_field_of_another_type_is_named(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(DatasetError, match=f"here: field 'q' must be str, not {kind}"):
        field({"q": value}, "q", str, "here")


def test_booleans_are_no_whole_numbers() -> None:
    with pytest.raises(DatasetError, match="must be int, not bool"):
        field({"n": True}, "n", int, "here")


@pytest.mark.parametrize("record", [None, 1, "text", [1]])
def test_a_record_that_is_no_object_is_named(record: Any) -> None:
    with pytest.raises(DatasetError, match="here: an object is expected"):
        field(record, "q", str, "here")


@pytest.mark.parametrize("value", ["", " ", True, None, 1.5])
def test_an_id_is_text_or_a_whole_number(value: Any) -> None:
    assert identifier({"id": 7}, "id", "here") == "7"
    with pytest.raises(DatasetError, match="here: field 'id'"):
        identifier({"id": value}, "id", "here")


def test_texts_are_distinct_in_order_and_not_blank() -> None:
    assert texts(["b", " ", "a", "b"], "x", "here") == ("b", "a")
    for value in ("ab", [1], None):
        with pytest.raises(DatasetError, match="here: field 'x' must be a list of texts"):
            texts(value, "x", "here")


def test_ids_from_places() -> None:
    assert numbered("nq", "/data/nq-2.jsonl:12") == "nq-000012"
    assert numbered("h", "/data/h.json: [3]") == "h-000003"
