"""How long a text do K vectors hold, exactly and certified?

    python experiments/capacity.py --data ../shared/data
    python experiments/capacity.py --data ../shared/data --model FOLDER --dtype bfloat16 \\
        --slots 1 2 4 8 16 32 --sets books random --first predicted given --out runs/capacity.json

For each text the longest prefix is sought that a content generates verbatim, decoded freely after
it was written and read back, closed by the end-of-text token: the length grows by half until it
fails, then the gap is halved until it is 5 % (`--resolution`). Every trial begins anew, with
`--max-steps` steps. The trials of all texts share one queue.

`books` are passages of novels and essays, `random` words drawn from theirs. With the first token
`predicted` the prompt is [mode] [c], the mode vector the same for all texts; with `given` it is
[c] [first token], and the first token does not count. Information is the text's surprisal after
the model's end-of-text token. `gained` is how much less surprising text and closing token are
behind the content.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import attrs
import torch
from kit import (
    NATS_A_BIT,
    Deadline,
    OneText,
    Record,
    Token,
    about,
    books,
    generator,
    nll,
    optimizer,
    options,
    plain_nats,
    random_words,
    say,
    solved,
    spread,
    write,
)
from torch import Tensor

from dcm import Example, Generator, Modes, Outcome

PREDICTED, GIVEN = "predicted", "given"
_CHARACTERS_A_TOKEN = 6


class FirstToken:
    """Mode vectors that are tokens: the mode "token 17" is the embedding of token 17."""

    layout = "suffix"

    def __init__(self, model: Generator) -> None:
        self._model = model

    def vectors(self, modes: Sequence[str]) -> Tensor:
        """[len(modes), D] float32."""
        ids = torch.tensor([int(mode.rpartition(" ")[2]) for mode in modes])
        return self._model.embed(ids.to(self._model.device))


@attrs.define(eq=False)
class Search:
    """The search for one text's longest prefix.

    Attributes:
        id: of the text.
        ids: its tokens.
        first: whether the first token is predicted or given.
        length: of the next trial, in tokens.
        low: the longest that was certified.
        high: the shortest that failed, above `low`; None as long as there is none.
        best: what became of `low`.
        trials: every trial, in its order.
    """

    id: str
    ids: Token
    first: str
    length: int
    low: int = 0
    high: int | None = None
    best: Outcome | None = None
    trials: list[Record] = attrs.field(factory=list)

    def example(self, model: Generator) -> Example | None:
        """The next trial; None where the search is done.

        The tokens of a prefix must be those that the tokenizer makes of its text, so that a text
        that ends within a letter of several bytes is made one shorter.
        """
        start = 1 if self.first == GIVEN else 0
        while self.low < self.length < (self.high or len(self.ids)):
            own = self.ids[start : start + self.length]
            text = model.text(own)
            if text.strip() and model.encode(text)[:-1] == own:
                mode = f"token {self.ids[0]}" if start else "text"
                return Example(f"{self.id}@{self.length}", self.id, text, metadata={"mode": mode})
            self.length -= 1
        return None

    def learn(self, outcome: Outcome, resolution: float) -> None:
        """Take a trial's end into account."""
        tried = int(outcome.example.id.rpartition("@")[2])
        held = outcome.certified is True
        self.trials.append(
            {
                "length": tried,
                "certified": held,
                "exact": outcome.exact,
                "steps": outcome.steps,
                "row_steps": outcome.row_steps,
            }
        )
        if held:
            self.low, self.best = tried, outcome
        else:
            self.high = tried
        gap = max(1, round(resolution * self.low))
        if self.high is None:
            self.length = tried + max(1, tried // 2)
        elif self.high - self.low <= gap:
            self.length = self.low
        elif self.low:
            self.length = (self.low + self.high) // 2
        else:
            self.length = tried * 2 // 3


class Queue:
    """The trials that wait, as the solver takes them: it is empty for now, and fills again."""

    def __init__(self, model: Generator, searches: Sequence[Search]) -> None:
        self.model, self.open = model, {each.id: each for each in searches}
        self.waiting: deque[Example] = deque()
        for each in searches:
            self.add(each)

    def add(self, search: Search) -> bool:
        """Let a search's next trial wait; False where it has none."""
        trial = search.example(self.model)
        if trial:
            self.waiting.append(trial)
        return trial is not None

    def __iter__(self) -> Iterator[Example]:
        return self

    def __next__(self) -> Example:
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft()


def cell(
    model: Generator,
    texts: Sequence[tuple[str, Token]],
    slots: int,
    first: str,
    start: int,
    asked: Namespace,
    deadline: Deadline,
) -> Record:
    """The longest prefixes of all texts with K = `slots`."""
    began = time.perf_counter()
    room = model.context_length - slots - 3
    searches = [Search(id, ids[:room], first, start) for id, ids in texts]
    queue = Queue(model, searches)
    modes = FirstToken(model) if first == GIVEN else Modes(model)
    outcomes = solved(
        model, queue, deadline, objective=OneText(), modes=modes, slots=slots,
        optimizer=optimizer(asked.optimizer), max_steps=asked.max_steps, seed=asked.seed,
        lanes=asked.lanes,
    )  # fmt: skip
    ended = 0
    for outcome in outcomes:
        search = queue.open[outcome.example.question]
        search.learn(outcome, asked.resolution)
        if not queue.add(search):
            ended += 1
            steps = search.best.steps if search.best else 0
            say(f"    {search.id:12} {search.low:5} tokens, {steps} steps ({ended}/{len(texts)})")
    # A search that was cut off counts with what it has found: no more than the truth.
    found = [_found(model, search, modes) for search in searches if search.trials]
    held = [each["tokens"] for each in found]
    return {
        "slots": slots,
        "first": first,
        "texts": found,
        "whole": ended == len(texts),
        "tokens": spread(held),
        "tokens_a_slot": spread([each / slots for each in held]),
        "bits": spread([each["bits"] for each in found]),
        "bits_a_slot": spread([each["bits"] / slots for each in found]),
        "steps": spread([each["steps"] for each in found if each["steps"]]),
        "row_steps": sum(trial["row_steps"] for each in found for trial in each["trials"]),
        "at_the_context's_end": sum(each["tokens"] + 1 >= room for each in found),
        "seconds": time.perf_counter() - began,
    }


def _found(model: Generator, search: Search, modes: object) -> Record:
    """What one search came to."""
    start = 1 if search.first == GIVEN else 0
    own = search.ids[start : start + search.low]
    record = {"id": search.id, "tokens": search.low, "nats": 0.0, "bits": 0.0, "gained": 0.0,
              "steps": None, "margin": None, "trials": search.trials}  # fmt: skip
    if search.best is None or search.best.content is None:
        return record
    end = model.encode("a")[-1]
    before = (end, *search.ids[:start])
    nats, closed = plain_nats(model, [own, (*own, end)], [before, before])
    mode = "text" if not start else f"token {search.ids[0]}"
    lead = modes.vectors([mode])  # type: ignore[attr-defined]
    ids = [(*own, end)]
    kept = nll(model, search.best.content[None], lead, ids, modes.layout)[0] * len(ids[0])  # type: ignore[attr-defined]
    return record | {
        "nats": nats,
        "bits": nats / NATS_A_BIT,
        "gained": closed - kept,
        "steps": search.best.steps,
        "margin": search.best.margin,
    }


def tokens(model: Generator, texts: Sequence[str], name: str) -> list[tuple[str, Token]]:
    """(id, tokens) of each text."""
    return [(f"{name} {place}", model.encode(text)[:-1]) for place, text in enumerate(texts)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, cell by cell."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--slots", nargs="+", type=int, default=[1], metavar="K", help="default 1")
    add("--sets", nargs="+", choices=("books", "random"), default=["books"], help="default books")
    add("--first", nargs="+", choices=(PREDICTED, GIVEN), default=[PREDICTED],
        help="the first token; default predicted")  # fmt: skip
    add("--texts", type=int, default=50, metavar="N", help="of each set; default 50")
    add("--max-steps", type=int, default=1000, metavar="N", help="of a trial; default 1,000")
    add("--start", type=int, default=48, metavar="T",
        help="tokens of the first trial at the first K; default 48")  # fmt: skip
    add("--resolution", type=float, default=0.05, help="share of the length; default 0.05")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    asked = parser.parse_args(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    longest = model.context_length * _CHARACTERS_A_TOKEN
    texts = {"books": books(asked.data, asked.texts, longest, asked.seed)}
    texts["random"] = random_words(texts["books"], asked.texts, longest, asked.seed)
    cells: list[Record] = []
    for first in asked.first:
        for name in asked.sets:
            start, before = asked.start, None
            for slots in asked.slots:
                if deadline.passed:
                    break
                if before:  # K has grown: the length grows nearly as much
                    start = max(4, round(start * (slots / before) ** 0.8))
                found = cell(model, tokens(model, texts[name], name), slots, first, start, asked,
                             deadline)  # fmt: skip
                cells.append({"set": name, **found})
                if found["texts"]:
                    start = max(4, round(median(each["tokens"] for each in found["texts"])))
                before = slots
                say(line(cells[-1]))
                write(asked.out, about(asked, model, cells=cells, seconds=deadline.spent))
    say(f"All figures are in {asked.out}")


def line(cell: Record) -> str:
    """A cell in one line."""
    held, bits, steps = cell["tokens"], cell["bits"], cell["steps"]
    if not held["count"]:
        return f"{cell['set']}, first {cell['first']}, K = {cell['slots']}: nothing was measured"
    low, high = held["median_interval"]
    return (
        f"{cell['set']}, first token {cell['first']}, K = {cell['slots']}: "
        f"{held['median']:g} tokens certified (median of {held['count']}, [{low:g}, {high:g}]; "
        f"mean {held['mean']:.1f}, sd {held['sd']:.1f}), {bits['median']:.0f} bits, "
        f"{steps.get('median', 0):g} steps, {cell['seconds']:.0f} s"
        + ("" if cell["whole"] else "; CUT OFF, so no more than the truth")
    )


if __name__ == "__main__":
    main()
