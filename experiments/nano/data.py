"""Training text of the bundled model: reading, the held-out check, tokens and batches.

The text is ``lm_text`` of the project's data folder: one paragraph a line, a blank line between
documents. It is cut into *units* (a paragraph, a question with its answer, a passage with its
questions) and units into *chunks*; a chunk always follows an end-of-text token.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import string
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from synthetic import documents as synthetic_documents
from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"

# qa_triviaqa is left out: the copyright of its questions is not cleared.
GROUPS: dict[str, tuple[str, ...]] = {
    "openstax": ("openstax_ccby",),
    "books": ("books_public_domain",),
    "docs": ("docs_permissive",),
    "government": ("us_government_public_domain",),
    "wikipedia": ("wikipedia_ccbysa",),
    "squad": ("squad_context_qa_ccbysa",),
    "qa": (
        "qa_factbook_public_domain",
        "qa_hotpotqa_ccbysa",
        "qa_misc",
        "qa_nq_ccbysa",
        "qa_openstax_ccby",
        "qa_trivia_ccbysa",
        "qa_webquestions_ccby",
    ),
    "synthetic": (),
}

# A group's documents of which one in so many is held out, to measure the loss on.
HELD_OUT_EVERY = {"wikipedia": 50, "squad": 25, "synthetic": 400}
HELD_OUT_EVERY_ELSE = 100

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Units:
    """The units of one group, as tokens.

    ``tokens`` [N] uint16: every unit preceded by a newline token; ``offsets`` [U+1]: where units
    begin; ``document`` [U]: the document of each; ``heading`` [U] bool: is it a heading.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    document: np.ndarray
    heading: np.ndarray


def data_folder(given: str | None) -> Path:
    """The project's data folder: what is given, else DCM_TEST_DATA, else ../shared/data."""
    return Path(given or os.environ.get("DCM_TEST_DATA") or "../shared/data")


def lm_text_folder(data: Path) -> Path:
    """The folder of the training text: ``data/lm_text``, or ``data`` itself where flat."""
    return data / "lm_text" if (data / "lm_text").is_dir() else data


def squad_file(data: Path) -> Path:
    """The evaluation file of SQuAD 2.0."""
    nested = data / "squad_v2" / "dev-v2.0.json"
    return nested if nested.exists() else data / "dev-v2.0.json"


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    text = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    return " ".join(text.split())


def read_group(folder: Path, group: str) -> list[list[str]]:
    """The documents of a group, each a list of units."""
    made: list[list[str]] = []
    for name in GROUPS[group]:
        text = lzma.decompress((folder / f"{name}.txt.xz").read_bytes()).decode("utf-8")
        for block in text.split("\n\n"):
            lines = [line for line in block.split("\n") if line]
            if not lines:
                continue
            if group in ("qa", "squad"):
                made.append(["\n".join(lines)])
            elif group == "wikipedia":  # unrelated sentences and passages stand side by side
                made += [[line] for line in lines if not is_heading(line)]
            elif group == "books":  # a document is a whole book: hold out blocks of it
                made += [lines[i : i + 16] for i in range(0, len(lines), 16)]
            else:
                made.append(lines)
    return made


def is_heading(line: str) -> bool:
    """Is the line short and without closing punctuation."""
    return len(line) < 80 and line[-1] not in ".!?:;\"')"


def count_held_out(folder: Path, data: Path, units: Iterable[str]) -> int:
    """How many lines of the units are a held-out question or an evaluation paragraph."""
    held = set(json.loads((folder / "heldout.json").read_text())["normalised_questions"])
    squad = json.loads(squad_file(data).read_text())["data"]
    questions = 0
    for paragraph in (p for article in squad for p in article["paragraphs"]):
        if questions < 600:
            held.add(normalise(paragraph["context"]))
        questions += len(paragraph["qas"])
    found = 0
    for unit in units:
        for line in unit.split("\n"):
            text = line.removeprefix("Question: ").removeprefix("Answer: ")
            found += normalise(text) in held
    return found


def _load(folder: Path, data: Path, group: str) -> tuple[list[list[str]], int]:
    documents = read_group(folder, group)
    return documents, count_held_out(folder, data, (u for d in documents for u in d))


def build(
    data: Path, tokenizer: Tokenizer, seed: int, synthetic_mb: int, workers: int
) -> dict[str, Units]:
    """Read, check and tokenise every group. Fails if anything held out is in the text."""
    folder = lm_text_folder(data)
    groups = [g for g in GROUPS if GROUPS[g]]
    with ProcessPoolExecutor(workers) as pool:
        loaded = list(pool.map(partial(_load, folder, data), groups))
        seeds = [seed * 100_000 + i for i in range(synthetic_mb)]
        made = list(pool.map(partial(synthetic_documents, characters=1_000_000), seeds))
    documents = {group: found[0] for group, found in zip(groups, loaded, strict=True)}
    documents["synthetic"] = [[document] for part in made for document in part]
    held_out = sum(found[1] for found in loaded)
    print(f"held-out questions and paragraphs in the training text: {held_out}", flush=True)
    if held_out:
        raise ValueError(f"{held_out} lines of the training text are held out")
    return {g: tokenise(d, tokenizer, headings=g != "synthetic") for g, d in documents.items()}


def tokenise(documents: list[list[str]], tokenizer: Tokenizer, headings: bool) -> Units:
    """Tokens of the documents; the newline between units is a token of its own."""
    units = [unit for document in documents for unit in document]
    newline = tokenizer.token_to_id("Ċ")
    ids: list[np.ndarray] = []
    for start in range(0, len(units), 20_000):
        batch = tokenizer.encode_batch_fast(units[start : start + 20_000])
        ids += [np.array([newline, *encoding.ids], dtype=np.uint16) for encoding in batch]
    return Units(
        tokens=np.concatenate(ids),
        offsets=np.cumsum([0, *map(len, ids)]),
        document=np.repeat(np.arange(len(documents)), [len(d) for d in documents]),
        heading=np.array([headings and is_heading(unit) for unit in units]),
    )


def chunks(units: Units, held_out: np.ndarray, rng: np.random.Generator) -> Iterator[slice]:
    """Cut the documents that are not held out into chunks of 1 to 8 units.

    Half of the chunks are one unit long. A heading never ends a chunk, and is dropped from the
    start of every second one.
    """
    ends = np.flatnonzero(np.diff(units.document, append=-1)) + 1
    start = 0
    lengths = np.where(rng.random(len(units.document)) < 0.5, 1, rng.integers(2, 9))
    drop = rng.random(len(units.document)) < 0.5
    for end in ends:
        if held_out[units.document[start]]:
            start = end
            continue
        while start < end:
            stop = min(end, start + lengths[start])
            while stop < end and units.heading[stop - 1]:
                stop += 1
            first = (
                start + 1 if units.heading[start] and drop[start] and stop > start + 1 else start
            )
            yield slice(units.offsets[first], units.offsets[stop])
            start = stop


def held_out_documents(group: str, count: int) -> np.ndarray:
    """Which of a group's documents are held out to measure the loss, [count] bool."""
    every = HELD_OUT_EVERY.get(group, HELD_OUT_EVERY_ELSE)
    return np.arange(count) % every == every // 2


def _join(units: Units, parts: list[slice], end: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts one after the other, each begun by the end-of-text token; where they begin."""
    joined = np.concatenate([units.tokens[part] for part in parts])
    starts = np.cumsum([0, *(part.stop - part.start for part in parts)])[:-1]
    joined[starts] = end
    return joined, starts


class Corpus:
    """All groups on one device, ready to draw rows from.

    Training text is laid out ``views`` times, each time cut into other chunks in another order.
    A row begins at the end-of-text token before a chunk.
    """

    def __init__(
        self, groups: dict[str, Units], end: int, views: int, seed: int, device: torch.device
    ) -> None:
        rng = np.random.default_rng(seed)
        tokens, starts, bounds = [], [], [0]
        self.names = list(groups)
        self.held_out: dict[str, torch.Tensor] = {}
        size = 0
        for name, units in groups.items():
            held = held_out_documents(name, int(units.document[-1]) + 1)
            for _ in range(views):
                parts = list(chunks(units, held, rng))
                order = rng.permutation(len(parts))
                joined, begins = _join(units, [parts[i] for i in order], end)
                tokens.append(joined)
                starts.append(begins + size)
                size += len(joined)
            bounds.append(sum(map(len, starts)))
            parts = list(chunks(units, ~held, rng))
            joined, _ = _join(units, parts, end)
            self.held_out[name] = torch.from_numpy(joined.astype(np.int64)).to(device)
        flat = np.concatenate([*tokens, np.full(8192, end, dtype=np.uint16)])
        self.tokens = torch.from_numpy(flat.astype(np.int32)).to(device)
        self.starts = torch.from_numpy(np.concatenate(starts)).to(device)
        self.bounds = torch.tensor(bounds, device=device)
        self.sizes = {g: len(u.tokens) for g, u in groups.items()}

    def rows(
        self, count: int, length: int, weights: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Draw rows: [count, length + 1] int64. ``weights`` [G]: the share of each group."""
        group = torch.multinomial(weights, count, replacement=True, generator=generator)
        low, high = self.bounds[group], self.bounds[group + 1]
        where = torch.rand(count, generator=generator, device=weights.device, dtype=torch.float64)
        start = self.starts[low + (where * (high - low)).long()]
        index = start[:, None] + torch.arange(length + 1, device=weights.device)
        return self.tokens[index].long()

    def held_out_rows(self, group: str, length: int, most: int) -> torch.Tensor:
        """Up to ``most`` held-out rows of a group, one after the other: [n, length + 1]."""
        tokens = self.held_out[group]
        count = min(most, (len(tokens) - 1) // length)
        return torch.stack([tokens[i * length : (i + 1) * length + 1] for i in range(count)])


def save(groups: dict[str, Units], path: Path) -> None:
    """Write the tokens to a file of arrays (npz, no pickle)."""
    arrays = {f"{g}.{k}": v for g, u in groups.items() for k, v in vars(u).items()}
    np.savez(path, **arrays)


def load(path: Path) -> dict[str, Units]:
    """Read what ``save`` wrote."""
    with np.load(path) as arrays:
        names = list(dict.fromkeys(key.split(".")[0] for key in arrays))
        fields = ("tokens", "offsets", "document", "heading")
        return {g: Units(*(arrays[f"{g}.{field}"] for field in fields)) for g in names}
