"""The bundled question-answer pairs."""

from __future__ import annotations

from pathlib import Path

import attrs

from dcm.reading import Collected, SquadFile, StoredDataset, collect, squad_example

FILE = Path(__file__).with_name("samples.json")


@attrs.frozen
class Samples(StoredDataset):
    """Question-answer pairs on short passages, written for this project; they come with it.

    Attributes:
        limit: how many examples to take at most; None for all.
        offset: how many to pass over.
        seed: None for the file's order, else the seed of a shuffle made before offset and limit.
    """

    def read(self) -> Collected:
        return collect(
            SquadFile(FILE), squad_example, offset=self.offset, limit=self.limit, seed=self.seed
        )
