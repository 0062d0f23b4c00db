"""Parsing records into examples, and the choice among them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcm import DatasetError, Example
from dcm.reading import (
    Collected,
    JsonItems,
    Placed,
    Unusable,
    collect,
    field,
    hub_records,
    identifier,
    json_lines,
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


def sources(folder: Path, count: int) -> list[Any]:
    """The same records: to be found again, read again, and read once."""
    path = write(folder / "a.jsonl", pairs(count))
    items = [json.loads(line) for line in pairs(count).splitlines()]
    document = write(folder / "a.json", json.dumps(items))
    packed = write(folder / "a.jsonl.gz", gzip.compress(pairs(count).encode()))
    once = iter([(f"record {i}", item) for i, item in enumerate(items)])
    return [json_lines(path), JsonItems(document), json_lines(packed), once]


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("limit", [None, 1, 4, 99])
@pytest.mark.parametrize("offset", [0, 3])
def test_every_source_gives_the_same_choice(
    tmp_path: Path, seed: int | None, limit: int | None, offset: int
) -> None:
    order = [f"p{i}" for i in range(10)]
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311
    wanted = order[offset:] if limit is None else order[offset : offset + limit]
    for source in sources(tmp_path, 10):
        chosen = collect(source, parse, seed=seed, limit=limit, offset=offset)
        assert ids(chosen) == wanted
        assert chosen.examples[0] == Example(wanted[0], f"what is {wanted[0][1:]}?", "yes")
        assert list(chosen.examples[:2]) == [chosen.examples[i] for i in range(len(wanted))][:2]


def test_seeds_change_the_order_and_limits_do_not(tmp_path: Path) -> None:
    records = json_lines(write(tmp_path / "a.jsonl", pairs(50)))
    whole = ids(collect(records, parse, seed=1))
    assert sorted(whole) == sorted(ids(collect(records, parse)))
    assert whole != ids(collect(records, parse, seed=2))
    assert ids(collect(records, parse, seed=1, limit=7)) == whole[:7]


def test_records_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    lines = [
        '{"id": 1, "q": "x"}',
        '{"id": 2, "q": "skip"}',
        '{"id": 3}',
        "junk",
        '{"id": 5, "q": 5}',
    ]
    for source in (
        json_lines(write(tmp_path / "a.jsonl", "\n".join(lines))),
        json_lines(write(tmp_path / "a.jsonl.gz", gzip.compress("\n".join(lines).encode()))),
    ):
        for seed in (None, 1):
            for limit in (None, 5):
                found = collect(source, parse, on_error="skip", seed=seed, limit=limit)
                assert ids(found) == ["1"]
                assert found.skipped == {"asked to skip": 1, "malformed": 3}
        with pytest.raises(DatasetError, match=r":3: field 'q' is missing"):
            collect(source, parse)


def test_nothing_after_the_limit_is_read() -> None:
    def records() -> Iterator[Placed]:
        yield from ((f"record {i}", {"id": i, "q": "x"}) for i in range(5))
        pytest.fail("read on")

    assert ids(collect(records(), parse, offset=2, limit=3)) == ["2", "3", "4"]


def test_an_empty_choice_tells_the_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(2) + '{"id": "z", "q": "skip"}\n')
    with pytest.raises(DatasetError, match=r"set is empty. 2 usable.*left out: 1 asked to skip"):
        collect(json_lines(path), parse, offset=5)
    with pytest.raises(DatasetError, match=r"set is empty\. 0 usable"):
        collect(json_lines(write(tmp_path / "b.jsonl", "")), parse)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("choice", [{}, {"seed": 1}, {"limit": 5}, {"limit": 5, "seed": 1}])
def test_two_records_with_one_id_are_refused_with_both_places(
    tmp_path: Path, on_error: Any, choice: dict[str, Any]
) -> None:
    content = pairs(4) + pairs(2)
    for name, bytes_ in (
        ("a.jsonl", content.encode()),
        ("a.jsonl.gz", gzip.compress(content.encode())),
    ):
        source = json_lines(write(tmp_path / name, bytes_))
        with pytest.raises(DatasetError, match=rf"{name}:5: id 'p0' occurs twice. .*{name}:1 too"):
            collect(source, parse, on_error=on_error, **choice)


def test_half_a_surrogate_pair_is_malformed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": "1", "q": "\\ud800"}\n')
    with pytest.raises(DatasetError, match=r"a\.jsonl:1: the record is malformed.*surrogate"):
        collect(json_lines(path), parse)


def test_a_bug_in_a_parser_is_not_taken_for_bad_data(tmp_path: Path) -> None:
    def faulty(record: Any, place: str) -> Example:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        collect(json_lines(write(tmp_path / "a.jsonl", pairs(1))), faulty, on_error="skip")


def test_a_hub_failure_is_a_dataset_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, *, split: str, streaming: bool) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DatasetError, match=r"'a/b' cannot be loaded\. ConnectionError: no network"):
        list(hub_records("a/b", split="train"))


def test_a_file_that_changes_after_it_was_read_is_a_dataset_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(3))
    examples = collect(json_lines(path), parse).examples
    write(path, '{"id": "p0", "q": "skip"}\n')
    for index in (0, 2):
        with pytest.raises(DatasetError, match=r"a\.jsonl:[13]: the file has changed"):
            examples[index]
