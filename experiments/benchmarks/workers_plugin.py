"""Components of the benchmark of many workers, announced so that workers find them.

A worker is a process of its own and makes its components from their descriptions: the models of
known shapes, rows that end after a few steps, texts shortened for a tokenizer of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import attrs
import torch
from real_texts import After, shortened
from shapes import Shape
from throughput import limit_memory

import dcm

GIB = "DCM_BENCH_GIB"
"""Names the memory that the worker of each card may have: "72,32"."""


@dcm.hookimpl
def dcm_generators() -> Iterable[dcm.Component]:
    return [dcm.Component("bench-shape", f"{__name__}:LimitedShape", "random weights")]


@dcm.hookimpl
def dcm_criteria() -> Iterable[dcm.Component]:
    return [dcm.Component("bench-after", f"{__name__}:AfterSome", "a few steps")]


@dcm.hookimpl
def dcm_datasets() -> Iterable[dcm.Component]:
    return [dcm.Component("bench-first", f"{__name__}:First", "the first pairs")]


@attrs.frozen
class LimitedShape(Shape):
    """A model of a known shape, on a card of as much memory as the environment says."""

    def load(self) -> Any:
        limits = os.environ.get(GIB)
        if limits and self.device.type == "cuda":
            each = limits.split(",")
            card = int(os.environ["CUDA_VISIBLE_DEVICES"]) % len(each)
            limit_memory(float(each[card]), torch.device("cuda", 0))
        torch.manual_seed(0)  # all workers have one model
        return super().load()


@attrs.frozen
class AfterSome(After):
    """Rows end after 4 to 11 steps."""


@attrs.frozen
class First(dcm.TaskDataset):
    """The first pairs of another data set, from the first on again where it has fewer.

    They have other ids then, so other starts. Shortened they are as short as bytes make them for
    tokens.
    """

    dataset: dcm.TaskDataset
    count: int
    shorten: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dcm.Example:
        times, place = divmod(range(self.count)[index], len(self.dataset))
        pair = self.dataset[place]
        if times:
            pair = attrs.evolve(pair, id=f"{pair.id}/{times}")
        return shortened(pair) if self.shorten else pair
