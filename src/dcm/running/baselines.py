"""Baselines: what each target costs before anything is optimised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import torch

from dcm.generator import Generator
from dcm.memory_limit import in_parts
from dcm.modes import Modes, mode_words
from dcm.optimizer import RowKey
from dcm.solver.item import Item, Measured
from dcm.strands import Strands

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Baselines:
    """Measures three baseline losses of every target.

    - `random`: behind [mode, random content], the contents drawn from a normal distribution at
      the scale of the model's input embeddings;
    - `single_token`: behind one random token;
    - `full_context`: as ordinary text. An answer follows its question; a question, and any other
      mode's target, follows the words of its mode ("Question:"), since nothing comes before it.

    Attributes:
        draws: how many random contents, and random tokens, each target is measured behind.
    """

    draws: int = attrs.field(default=3, validator=attrs.validators.ge(1))

    @torch.no_grad()
    def measure(
        self, generator: Generator, items: Sequence[Item], slots: int, modes: Modes, seed: int
    ) -> list[Measured]:
        """The baselines of each item's targets. An item's depend on that item and seed alone."""
        return in_parts(lambda part: self._measure(generator, part, slots, modes, seed), items)

    def _measure(
        self, generator: Generator, items: Sequence[Item], slots: int, modes: Modes, seed: int
    ) -> list[Measured]:
        random = [self._random(generator, items, slots, modes, seed, d) for d in range(self.draws)]
        token = [self._single_token(generator, items, seed, d) for d in range(self.draws)]
        text = [self._full_context(generator, items)]
        kinds = {"random": random, "single_token": token, "full_context": text}
        measured: list[Measured] = []
        start = 0
        for item in items:
            end = start + len(item.targets)
            measured.append(
                {
                    kind: tuple(zip(*(draw[start:end] for draw in draws), strict=True))
                    for kind, draws in kinds.items()
                }
            )
            start = end
        return measured

    def _random(
        self,
        generator: Generator,
        items: Sequence[Item],
        slots: int,
        modes: Modes,
        seed: int,
        draw: int,
    ) -> list[float]:
        shape = (slots, generator.width)
        content = torch.stack(
            [
                torch.randn(shape, generator=RowKey(seed, item.example.id, draw).random("baseline"))
                for item in items
            ]
        ) * (generator.embedding_scale)
        rows = [row for row, item in enumerate(items) for _ in item.targets]
        leads = modes.vectors([target.mode for item in items for target in item.targets])
        return _nll(generator, content, leads, rows, _ids(items), modes.layout)

    def _single_token(
        self, generator: Generator, items: Sequence[Item], seed: int, draw: int
    ) -> list[float]:
        tokens = [
            torch.randint(
                generator.vocabulary,
                (len(item.targets),),
                generator=RowKey(seed, item.example.id, draw).random("token"),
            )
            for item in items
        ]
        leads = generator.embed(torch.cat(tokens).to(generator.device))
        content = torch.zeros(1, 0, generator.width)
        return _nll(generator, content, leads, [0] * len(leads), _ids(items), "prefix")

    def _full_context(self, generator: Generator, items: Sequence[Item]) -> list[float]:
        targets = [
            (plain_text(item, target), ids)
            for item in items
            for target, ids in zip(range(len(item.targets)), item.ids, strict=True)
        ]
        losses = [math.nan] * len(targets)
        by_length: dict[int, list[int]] = {}
        prompts: list[tuple[int, ...]] = []
        for place, (text, ids) in enumerate(targets):
            prompt = (*generator.opening, *generator.encode(text)[:-1])
            prompts.append(prompt)
            if prompt and len(prompt) + len(ids) <= generator.context_length:
                by_length.setdefault(len(prompt), []).append(place)
        for places in by_length.values():
            prompt_ids = torch.tensor([prompts[place] for place in places])
            embedded = generator.embed(prompt_ids.to(generator.device))
            found = _nll(
                generator,
                embedded[:, 1:],
                embedded[:, 0],
                list(range(len(places))),
                [targets[place][1] for place in places],
                "prefix",
            )
            for place, loss in zip(places, found, strict=True):
                losses[place] = loss
        return losses


def plain_text(item: Item, target: int) -> str:
    """What stands before a target in the `full_context` baseline, on a line of its own.

    Without the line's end the target would begin in the middle of a line, which no text does:
    that alone cost the bundled model 1.8 nats a token of an answer (measured).
    """
    mode = item.targets[target].mode
    text = item.example.question if mode == "answer" else mode_words(mode)
    return f"{text}\n"


def _ids(items: Sequence[Item]) -> list[tuple[int, ...]]:
    return [ids for item in items for ids in item.ids]


def _nll(
    generator: Generator,
    content: Tensor,
    lead: Tensor,
    rows: list[int],
    ids: Sequence[tuple[int, ...]],
    layout: str,
) -> list[float]:
    device = generator.device
    strands = Strands(
        row=torch.tensor(rows, device=device),
        lead=lead,
        ids=ids,
        weight=torch.ones(len(ids), device=device),
        rows=len(content),
        layout="suffix" if layout == "suffix" else "prefix",
    )
    losses: list[float] = generator.score(content.to(device), strands).nll.tolist()
    return losses
