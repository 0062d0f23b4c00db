"""What a data set promises."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.dataset import TaskDataset
from dcm.example import Example
from dcm.plugins import Plugins
from dcm.serial import build, describe
from dcm.testing.contracts.component import FEW, ComponentContract
from dcm.testing.strategies import texts

_READING = ("open", "os.listdir", "os.scandir", "socket.connect", "socket.getaddrinfo")


class DatasetContract(ComponentContract):
    """A finite, ordered set of examples with stable ids, read when it is first used.

    Override `dataset` with a set of a few examples, two at least.
    """

    kind = "dataset"

    @pytest.fixture
    def dataset(self) -> TaskDataset:
        raise NotImplementedError("override the fixture `dataset`")

    @pytest.fixture
    def component(self, dataset: TaskDataset) -> TaskDataset:
        return dataset

    def test_constructing_reads_nothing(self, dataset: TaskDataset, plugins: Plugins) -> None:
        description = describe(dataset, plugins)
        with _reading() as what:
            build(description, plugins)
        assert not what

    def test_it_has_examples(self, dataset: TaskDataset) -> None:
        assert len(dataset) >= 1
        assert all(isinstance(dataset[index], Example) for index in range(len(dataset)))

    def test_iterating_gives_what_indexing_gives(self, dataset: TaskDataset) -> None:
        assert list(dataset) == [dataset[index] for index in range(len(dataset))]
        assert list(dataset) == list(dataset)

    def test_an_index_outside_is_refused(self, dataset: TaskDataset) -> None:
        for index in (len(dataset), -1):
            with pytest.raises(IndexError):
                dataset[index]

    def test_ids_are_unique(self, dataset: TaskDataset) -> None:
        ids = [example.id for example in dataset]
        assert len(set(ids)) == len(ids)

    def test_examples_are_stable(self, dataset: TaskDataset, plugins: Plugins) -> None:
        again = build(describe(dataset, plugins), plugins)
        # In another order too: an example must not depend on what was asked before.
        indices = range(len(dataset))
        backwards = [again[index] for index in reversed(indices)]
        assert backwards[::-1] == [dataset[index] for index in indices]

    def test_examples_survive_json(self, dataset: TaskDataset) -> None:
        for example in dataset:
            fields = attrs.asdict(example)
            assert Example(**json.loads(json.dumps(fields, allow_nan=False))) == example

    def test_what_is_left_out_is_counted(self, dataset: TaskDataset) -> None:
        for reason, count in dataset.skipped.items():
            assert reason.strip()
            assert count >= 0

    def test_the_answer_itself_gets_the_best_grade(self, dataset: TaskDataset) -> None:
        for example in dataset:
            grades = dataset.grade(example, example.answer)
            assert grades
            assert set(grades.values()) == {1.0}, f"{example.id}: {grades}"

    @FEW
    @given(text=st.just("") | texts(), place=st.integers(0))
    def test_any_text_can_be_graded(self, dataset: TaskDataset, text: str, place: int) -> None:
        example = dataset[place % len(dataset)]
        grades = dataset.grade(example, text)
        assert grades.keys() == dataset.grade(example, example.answer).keys()
        assert all(0 <= grade <= 1 for grade in grades.values())


@contextmanager
def _reading() -> Iterator[list[Any]]:
    """Files opened, folders listed and connections made by this thread meanwhile."""
    watched = _watched()
    watched[threading.get_ident()] = found = list[Any]()
    try:
        yield found
    finally:
        del watched[threading.get_ident()]


@cache
def _watched() -> dict[int, list[Any]]:
    """thread -> what it reads; a hook of the interpreter, which can never be taken off, adds."""
    threads: dict[int, list[Any]] = {}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _READING and threading.get_ident() in threads:
            threads[threading.get_ident()].append((event, arguments))

    sys.addaudithook(hook)
    return threads
