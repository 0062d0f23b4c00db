"""Memory: the kept contents of one or several runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from dcm.errors import UsageError, did_you_mean
from dcm.memory.agreement import check_framing, check_that_they_agree, read_experiment
from dcm.memory.item import MemoryItem, mode_vector
from dcm.memory.run_items import RunItems
from dcm.running.run_directory import RunDirectory

if TYPE_CHECKING:
    from dcm.example import Example
    from dcm.generator import Generator
    from dcm.memory.adding import Added
    from dcm.memory.answer import Answer, Threshold
    from dcm.memory.contents import Kept
    from dcm.strands import Layout

# Texts decoded at once.
_DECODED = 256

# How much the nearness of a stored question's words counts beside the loss, in nats a unit of
# BM25. Of 100 questions cut to half their words contents alone find 73, words alone 97, both 99;
# anything from 0.2 to 0.5 does as well.
WORDS = 0.3


class Memory(Mapping[str, MemoryItem]):
    """The contents of one or several runs, by id, in the order in which they were written.

    Use `dcm.open`. Nothing is read before it is needed; a run that grows is seen when it is opened
    again.

    Args:
        paths: run directories.
        generator: the model; None for the one that the runs name.

    Attributes:
        paths: the run directories.
        experiments: what their experiment.json say.
        given: the model that was given.

    Raises:
        RunDirectoryError: a folder is no run, runs are of different models, or share an id, or the
            model that was given puts prompts into another frame.
    """

    def __init__(self, paths: Sequence[str | Path], generator: Generator | None = None) -> None:
        if not paths:
            raise UsageError("no run was named", "", 'Name one: dcm.open("runs/first")')
        self.paths = [RunDirectory.open(path).path for path in paths]
        self.experiments = [read_experiment(path) for path in self.paths]
        self.given = generator
        self._opened = [RunItems(path) for path in self.paths]
        check_that_they_agree(self._opened, self.experiments, same_model=generator is None)
        if generator is not None:
            check_framing(self._opened, self.experiments, generator)

    def __len__(self) -> int:
        return sum(len(run) for run in self._opened)

    def __iter__(self) -> Iterator[str]:
        for run in self._opened:
            for line in run.lines():
                yield line["id"]

    def __getitem__(self, example_id: str) -> MemoryItem:
        for run in self._opened:
            line = run.find(example_id)
            if line is not None:
                return MemoryItem(example_id, line, self, run.shards)
        raise KeyError(example_id)

    def __contains__(self, example_id: object) -> bool:
        return isinstance(example_id, str) and any(
            run.find(example_id) is not None for run in self._opened
        )

    def __repr__(self) -> str:
        return f"<Memory of {len(self)} items in {', '.join(map(str, self.paths))}>"

    @cached_property
    def generator(self) -> Generator:
        """The frozen model behind the contents, loaded at first use."""
        from dcm.serial import build

        if self.given is not None:
            return self.given
        found: Generator = build(self.experiments[0]["generator"])
        return found

    def numbered(self, number: int) -> MemoryItem:
        """The item at a place, from 0 on, of all that were ever kept; see `places`."""
        for run in self._opened:
            if number < run.count:
                line = run.line(number)
                return MemoryItem(line["id"], line, self, run.shards)
            number -= run.count
        raise IndexError(number)

    @property
    def places(self) -> list[int]:
        """The places of all items that are there."""
        import numpy as np

        present = np.concatenate([run.present for run in self._opened])
        return [int(place) for place in np.nonzero(present)[0]]

    def shortlist(self, text: str, count: int | None) -> list[tuple[int, float]]:
        """The places of the items whose questions are nearest to a text, nearest first.

        Args:
            text: what to look for.
            count: how many; None for all.

        Returns:
            Pairs of a place and its relevance: BM25 over the trigrams of the words of the stored
            questions. No model is asked.
        """
        import numpy as np

        from dcm.memory.trigrams import relevance

        parts = [segment.trigrams for run in self._opened for segment in run.segments]
        scores = np.concatenate([np.empty(0, np.float32), *relevance(parts, text)])
        present = np.concatenate([run.present for run in self._opened])
        found = np.nonzero(present)[0]
        scores = scores[found]
        if count is not None and count < len(found):
            best = np.argpartition(-scores, count - 1)[:count]
            found, scores = found[best], scores[best]
        # By place where they are equally near, so that the order does not depend on the machine.
        order = np.lexsort((found, -scores))
        return list(zip(found[order].tolist(), scores[order].tolist(), strict=True))

    @property
    def removed(self) -> set[str]:
        """Ids of items that were removed."""
        return {each for run in self._opened for each in run.removed}

    def generate(
        self, ids: Iterable[str], mode: str = "answer", max_new_tokens: int = 256
    ) -> list[str]:
        """What the model generates behind contents under a mode, greedily, many at once.

        Raises:
            UsageError: an id is unknown, or its content was not optimised for that mode.
        """
        return self.generate_from([self.item(each) for each in ids], mode, max_new_tokens)

    def generate_from(
        self, items: Sequence[MemoryItem], mode: str, max_new_tokens: int = 256
    ) -> list[str]:
        """`generate` for items at hand."""
        import torch

        from dcm.memory_limit import in_parts

        generator, texts = self.generator, [""] * len(items)

        def decode(some: Sequence[int]) -> list[str]:
            contents = torch.stack([items[place].content for place in some])
            leads = torch.stack([mode_vector(items[place], mode) for place in some])
            device = generator.device
            layout = items[some[0]].layout
            return generator.decode(contents.to(device), leads.to(device), max_new_tokens, layout)

        def alike(place: int) -> tuple[int, Layout]:
            return items[place].slots, items[place].layout

        for _, group in groupby(sorted(range(len(items)), key=alike), key=alike):
            own = list(group)
            for some in (own[at : at + _DECODED] for at in range(0, len(own), _DECODED)):
                for place, text in zip(some, in_parts(decode, some), strict=True):
                    texts[place] = text
        return texts

    def ask(
        self, text: str, top: int = 5, *, shortlist: int | None = 64, words: float = WORDS
    ) -> Answer:
        """Which contents explain a text best, and what the best one answers.

        L(text | question mode, c) is measured behind the contents of the shortlist, and the
        answer is decoded behind the best.

        Args:
            text: a question.
            top: how many candidates are told.
            shortlist: how many contents are measured, those whose stored questions are nearest
                to the text by their words; None for all.
            words: how much that nearness counts beside the loss; 0 leaves it to the contents.

        Raises:
            UsageError: the memory is empty, or its contents know no question mode.
        """
        return self.ask_all([text], top, shortlist=shortlist, words=words)[0]

    def ask_all(
        self,
        texts: Sequence[str],
        top: int = 5,
        *,
        shortlist: int | None = 64,
        words: float = WORDS,
    ) -> list[Answer]:
        """`ask` for many texts, measured and decoded together."""
        from dcm.memory.asking import ask_all

        return ask_all(self, texts, top, shortlist, words)

    @property
    def threshold(self) -> Threshold | None:
        """From where on `ask` says that no memory fits; None before `calibrate`."""
        from dcm.memory.answer import Threshold

        return Threshold.kept(self.paths)

    def calibrate(
        self,
        texts: Sequence[str] | None = None,
        false_answers: float = 0.05,
        *,
        words: float = WORDS,
    ) -> Threshold:
        """Find the margin below which no memory fits, and keep it beside the run.

        Args:
            texts: questions that no item answers, at least 20. None for questions of the memory,
                each asked of all the other items: harder than strangers' questions, where items
                are near to each other.
            false_answers: the share of such questions that may get an answer all the same.
            words: as `ask` is told.

        Raises:
            UsageError: too few texts, or too few items.
        """
        from dcm.memory.asking import calibrate

        return calibrate(self, texts, false_answers, words)

    def add(
        self,
        examples: Iterable[Example],
        *,
        slots: int | Sequence[int] | None = None,
        kept: Kept = "float32",
        max_steps: int | None = None,
    ) -> Added:
        """Optimise, certify and append examples to the run; what is there already is passed over.

        Killed at any instant, the same call goes on where it was: an item is whole or absent.

        Args:
            examples: what to remember; ids must be new or belong to the same texts.
            slots: K, or several in ascending order: an example takes the first that certifies.
                None for the run's own.
            kept: what contents are kept in; certified as they are kept.
            max_steps: most measurements of an attempt; None for the run's own.

        Raises:
            UsageError: several runs are open, or an id belongs to other texts.
        """
        from dcm.memory.adding import add

        return add(self, examples, slots=slots, kept=kept, max_steps=max_steps)

    def remove(self, ids: Iterable[str]) -> None:
        """Take items out of the memory, at once and for good.

        Their lines and contents stay in the run's files, where nobody finds them by this library;
        `merge` writes a run without them.

        Raises:
            UsageError: an id is unknown.
        """
        for example_id in [self.item(each).id for each in ids]:
            for run in self._opened:
                run.remove(example_id)
        for run in self._opened:
            run.write_removed()

    def merge(self, directory: str | Path) -> Memory:
        """Write all items of all open runs into a new run, as they are kept.

        Raises:
            RunDirectoryError: something is in that folder already.
        """
        from dcm.memory.adding import merge

        return merge(self, Path(directory))

    def convert(self, directory: str | Path, kept: Kept) -> Added:
        """Write all items into a new run, kept in another dtype, each certified anew.

        What is no longer exact after rounding is optimised on under it.

        Args:
            directory: the new run.
            kept: float32, bfloat16, float16 or int8 (a scale for each slot).

        Raises:
            RunDirectoryError: something is in that folder already.
        """
        from dcm.memory.adding import convert

        return convert(self, Path(directory), kept)

    def export(
        self,
        path: str | Path,
        mode: str = "answer",
        ids: Iterable[str] | None = None,
        *,
        dtype: str | None = None,
    ) -> int:
        """Write prompts made of contents into a safetensors file; how many.

        The file holds a dense tensor [K + 1, D] for each id: what vLLM takes as `prompt_embeds`.
        It is [mode, c] or, where the layout is `suffix`, [c, mode]; the metadata says which. With
        the framing `chat` the template's embeddings stand around it: it is the whole prompt.

        Args:
            path: the new file.
            mode: the mode that the prompts stand for.
            ids: which items; None for all.
            dtype: float32, bfloat16 or float16; None for what the model computes in.

        Raises:
            UsageError: an unknown id, mode or dtype, or a file that is there already.
        """
        from dcm.memory.export import export_prompt_embeds

        return export_prompt_embeds(self, Path(path), mode, ids, dtype)

    def item(self, example_id: str) -> MemoryItem:
        """An item.

        Raises:
            UsageError: there is none of that id.
        """
        try:
            return self[example_id]
        except KeyError:
            known = [each for each, _ in zip(self, range(2000), strict=False)]
            there = did_you_mean(example_id, known) if known else "It is empty"
            if there.startswith("Use one of"):
                there = f"It has {len(self)} others, such as {known[0]!r}"
            raise UsageError(f"the memory has no item {example_id!r}", there) from None


def open(*paths: str | Path, generator: Generator | None = None) -> Memory:
    """Open the kept contents of one or several runs as a memory.

    No torch is loaded before a content is touched, and no model before something is generated or
    asked. The first time a run is opened its lines are read once, and where they are is kept in
    its folder `memory/`.

    Args:
        paths: run directories, of one model.
        generator: the model; None for the one that the runs name.

    Raises:
        RunDirectoryError: a folder is no run, runs are of different models, or share an id.
        UsageError: no folder is named.
    """
    return Memory(paths, generator)
