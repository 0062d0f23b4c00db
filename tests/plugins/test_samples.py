"""The bundled samples: usable by themselves, stable and well-formed."""

from __future__ import annotations

import json
import re

import pytest

import dcm
from dcm import DatasetError
from dcm_samples.samples import FILE, Samples


def test_every_record_is_usable() -> None:
    dataset = Samples()
    assert len(dataset) >= 100
    assert dataset.skipped == {}
    assert len({example.id for example in dataset}) == len(dataset)
    assert len({example.question for example in dataset}) == len(dataset)


def test_every_answer_stands_in_its_passage_where_it_says() -> None:
    for article in json.loads(FILE.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                for answer in qa["answers"]:
                    found = paragraph["context"][answer["answer_start"] :]
                    assert found.startswith(answer["text"]), qa["id"]


def test_ids_and_texts_are_plain() -> None:
    for example in Samples():
        assert re.fullmatch(r"[a-z0-9-]+", example.id)
        for text in (example.question, example.answer):
            assert text == text.strip()
            assert text.isprintable()


def test_limit_offset_and_seed() -> None:
    ids = [example.id for example in Samples()]
    assert [example.id for example in Samples(limit=3, offset=2)] == ids[2:5]
    shuffled = [example.id for example in Samples(seed=7)]
    assert sorted(shuffled) == sorted(ids)
    assert shuffled != ids
    assert [example.id for example in Samples(seed=7, limit=4)] == shuffled[:4]


def test_an_offset_past_the_end_is_an_error() -> None:
    with pytest.raises(DatasetError, match="the set is empty"):
        len(Samples(offset=10_000))


@pytest.mark.parametrize("dataset", [Samples(), Samples(limit=5, offset=1, seed=2)])
def test_the_serial_form_gives_it_back(dataset: Samples) -> None:
    assert dcm.build(json.loads(json.dumps(dcm.describe(dataset)))) == dataset


def test_it_is_found_by_its_name() -> None:
    assert dcm.find("dataset", "samples") is Samples
