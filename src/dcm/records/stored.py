"""Data sets whose examples are chosen from stored records."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import attrs

from dcm.dataset import TaskDataset
from dcm.errors import DatasetError
from dcm.example import Example
from dcm.fields import one_of, whole
from dcm.records.choosing import Collected, OnError, Parse, Placed, collect
from dcm.records.files import path_text
from dcm.records.parquet_rows import ParquetRows
from dcm.records.reading import head


@attrs.frozen(kw_only=True)
class StoredDataset(TaskDataset):
    """A data set whose examples are chosen from stored records: subclasses give `read`.

    Attributes:
        limit: how many examples to take at most; None for all.
        offset: how many usable ones to pass over.
        seed: None for the source's order, else the seed of a shuffle made before offset and limit.
    """

    limit: int | None = attrs.field(default=None, validator=whole(1, sys.maxsize, optional=True))
    offset: int = attrs.field(default=0, validator=whole(0, sys.maxsize))
    seed: int | None = attrs.field(default=None, validator=whole(optional=True))

    @abstractmethod
    def read(self) -> Collected:
        """Read the source.

        Raises:
            DatasetError: it is missing or malformed, or has no usable record.
        """

    @cached_property
    def collected(self) -> Collected:
        """What `read` gave, read once."""
        return self.read()

    def __len__(self) -> int:
        return len(self.collected.examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"no example {index}: there are {len(self)}")
        return self.collected.examples[index]

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.collected.skipped

    @property
    def remarks(self) -> tuple[str, ...]:
        return self.collected.remarks


@attrs.frozen
class HubDataset(StoredDataset):
    """A stored data set read from a file, or from the Hugging Face hub if a set there is named.

    Attributes:
        path: a file, which may be one of the hub's Parquet files; or
        hub: the name of a set on the hub, "owner/name".
        config: the hub set's configuration, where it has several.
        split: the hub set's split.
        on_error: "skip" leaves out malformed records, "stop" raises.

    Raises:
        ValueError: not exactly one of path and hub is given.
    """

    path: str | None = attrs.field(default=None, converter=attrs.converters.optional(path_text))
    hub: str | None = None
    config: str | None = None
    split: str = "validation"
    on_error: OnError = attrs.field(default="stop", validator=one_of("stop", "skip"))

    def __attrs_post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            given = "both" if self.path is not None else "neither"
            raise ValueError(f"give path (a file) or hub (a name on the hub); {given} is given")

    def choose(
        self,
        open: Callable[[str], Iterable[Placed]],
        parse: Parse,
        parse_hub: Parse,
        *,
        repeats: bool = False,
    ) -> Collected:
        """Collect examples.

        Args:
            open: gives the records of a file.
            parse: makes an example of a file's record.
            parse_hub: makes an example of a hub record.
            repeats: the source has some pairs more than once, as `collect` says.

        Raises:
            DatasetError: as `collect`.
        """
        as_on_hub = self.path is None
        records: Iterable[Placed]
        if self.path is not None:
            # What people fetch from the hub is Parquet, with its records as they are there.
            as_on_hub = Path(self.path).is_file() and head(self.path).startswith(b"PAR1")
            records = ParquetRows(self.path) if as_on_hub else open(self.path)
        else:
            assert self.hub is not None  # noqa: S101 - for the type checker
            streaming = self.limit is not None and self.seed is None
            records = hub_records(
                self.hub, split=self.split, config=self.config, streaming=streaming
            )
        return collect(
            records,
            parse_hub if as_on_hub else parse,
            offset=self.offset,
            limit=self.limit,
            seed=self.seed,
            on_error=self.on_error,
            repeats=repeats,
        )


def hub_records(
    name: str, *, split: str, config: str | None = None, streaming: bool = False
) -> Iterator[Placed]:
    """Records of a data set on the Hugging Face hub; the only function here that uses a network.

    Args:
        name: the set's name there, "owner/name".
        split: which part of it.
        config: which of its configurations, where it has several.
        streaming: fetch records as they are read instead of the whole set first.

    Raises:
        DatasetError: the set cannot be loaded.
    """
    try:
        import datasets

        loaded = datasets.load_dataset(name, config, split=split, streaming=streaming)
        for number, record in enumerate(loaded):
            yield f"{name}[{split}] record {number}", record
    except Exception as error:
        asked = f"the hub's data set {name!r} cannot be loaded"
        there = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DatasetError(asked, there, "Check name and network, or give a path") from error
