"""What is exact worth without decoding: how many teacher-forced exact contents decode verbatim?

    python experiments/decodability.py --data ../shared/data --model FOLDER
    python experiments/decodability.py --data ../shared/data --margins 0 0.5 --texts 20

Contents are optimised until every token is the argmax by a margin, and no further, and are then
decoded freely, greedily, with a cache, in batches of several sizes. Published: of texts that are
exact teacher-forced 70 % decode (Progressive Cramming, Pythia-1.4B and Llama-3.1-8B).

`pairs` are questions and answers of SQuAD at `--slots`, `passages` the beginnings of passages of
books, `--tokens` long, in one vector. Verbatim counts the text and its end; `begins` the text
alone, whatever follows, as the literature does. Dtypes, compiled layers and margins are crossed.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from capacity import PREDICTED, Search, tokens
from kit import (
    Deadline,
    OneText,
    Record,
    about,
    books,
    generator,
    optimizer,
    options,
    say,
    solved,
    spread,
    write,
)

from dcm import Example, Generator, Modes, Objective, Outcome, find
from dcm.memory_limit import in_parts
from dcm.protocol.statistics import rate

_BEYOND = 4
_EDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, float("inf"))


def sets(model: Generator, asked: Namespace) -> dict[str, tuple[list[Example], Objective, int]]:
    """name -> examples, objective and K."""
    pairs = find("dataset", "squad")(
        path=str(asked.data / "squad_v2/dev-v2.0.json"), seed=asked.seed, limit=asked.texts
    )
    texts = tokens(model, books(asked.data, asked.texts, 8 * asked.tokens, asked.seed), "books")
    prefixes = [Search(id, ids, PREDICTED, asked.tokens).example(model) for id, ids in texts]
    return {
        "pairs": (list(pairs), find("objective", "joint")(), asked.slots),
        "passages": ([each for each in prefixes if each], OneText(), 1),
    }


def decoded(
    model: Generator, outcomes: Sequence[Outcome], objective: Objective, size: int
) -> list[tuple[bool, bool]]:
    """(verbatim to the end, begins with the target) of each, all its targets taken together."""
    modes = Modes(model)
    jobs = [(place, target) for place, outcome in enumerate(outcomes)
            for target in objective.targets(outcome.example)]  # fmt: skip

    def some(part: Sequence[tuple[int, Any]]) -> list[str]:
        contents = [outcomes[place].content for place, _ in part]
        return model.decode(
            torch.stack([each for each in contents if each is not None]).to(model.device),
            modes.vectors([target.mode for _, target in part]),
            [len(model.encode(target.text)) + _BEYOND for _, target in part],
        )

    parts = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    texts = [text for part in parts for text in in_parts(some, part)]
    found = [(True, True)] * len(outcomes)
    for (place, target), text in zip(jobs, texts, strict=True):
        verbatim, begins = found[place]
        found[place] = (verbatim and text == target.text,
                        begins and text.startswith(target.text))  # fmt: skip
    return found


def cell(
    model: Generator,
    given: tuple[list[Example], Objective, int],
    margin: float,
    asked: Namespace,
    deadline: Deadline,
) -> Record:
    """One set with one margin: contents, and what they decode to in each batch size."""
    examples, objective, slots = given
    ended = list(
        solved(
            model, examples, deadline, objective=objective, certified=False, slots=slots,
            criterion=find("criterion", "exact")(margin=margin), max_steps=asked.max_steps,
            optimizer=optimizer(asked.optimizer), seed=asked.seed, lanes=asked.lanes,
        )
    )  # fmt: skip
    exact = [each for each in ended if each.exact]
    record: Record = {
        "ended": len(ended),
        "exact": len(exact),
        "steps": spread([float(each.steps) for each in exact]),
        "margins": spread([each.margin for each in exact]),
        "decoded": {},
        "by_margin": [],
    }
    for size in asked.batches:
        # One by one takes long.
        chosen = exact if size >= asked.singles else exact[: asked.singles]
        if not chosen or deadline.passed:
            continue
        found = decoded(model, chosen, objective, size)
        record["decoded"][str(size)] = {
            "verbatim": rate([verbatim for verbatim, _ in found]).as_json(),
            "begins": rate([begins for _, begins in found]).as_json(),
        }
        if len(chosen) == len(exact) and not record["by_margin"]:
            record["by_margin"] = by_margin([each.margin for each in exact], found)
    return record


def by_margin(margins: Sequence[float], found: Sequence[tuple[bool, bool]]) -> list[Record]:
    """The share that decodes among contents of about one margin."""
    bins = []
    both = [(margin, verbatim) for margin, (verbatim, _) in zip(margins, found, strict=True)]
    for low, high in pairwise(_EDGES):
        flags = [verbatim for margin, verbatim in both if low < margin <= high]
        if flags:
            top = None if high == _EDGES[-1] else high
            bins.append({"above": low, "to": top, "verbatim": rate(flags).as_json()})
    return bins


def main(arguments: Sequence[str] | None = None) -> None:
    """Cross dtypes, compiled layers, sets and margins."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--dtypes", nargs="+", default=["float32", "bfloat16"], help="default float32 bfloat16")
    add("--compiled", nargs="+", type=int, choices=(0, 1), default=[0], help="0 eager, 1 compiled")
    add("--margins", nargs="+", type=float, default=[0.0, 0.01, 0.1, 0.5, 2.0], help="in logits")
    add("--batches", nargs="+", type=int, default=[256, 8, 1], help="to decode in; default 256 8 1")
    add("--singles", type=int, default=20, metavar="N", help="decoded in small batches; default 20")
    add("--texts", type=int, default=100, metavar="N", help="of each set; default 100")
    add("--tokens", type=int, default=48, metavar="T", help="of a passage; default 48")
    add("--slots", type=int, default=4, metavar="K", help="of a pair; default 4")
    add("--max-steps", type=int, default=500, metavar="N", help="default 500")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    asked = parser.parse_args(arguments)
    deadline = Deadline(asked.seconds)
    cells: list[Record] = []
    for dtype in asked.dtypes:
        for compiled in asked.compiled:
            asked.dtype = dtype
            model = generator(asked, compiled=bool(compiled))
            for name, given in sets(model, asked).items():
                for margin in asked.margins:
                    if deadline.passed:
                        break
                    found = cell(model, given, margin, asked, deadline)
                    if deadline.passed and found["ended"] < len(given[0]):
                        break  # cut off: those that ended are the easiest
                    head = {"dtype": dtype, "compiled": bool(compiled), "set": name,
                            "slots": given[2], "margin": margin}  # fmt: skip
                    cells.append({**head, **found})
                    say(line(cells[-1]))
                    write(asked.out, about(asked, model, cells=cells, seconds=deadline.spent))
    say(f"All figures are in {asked.out}")


def line(cell: Record) -> str:
    """A cell in one line."""
    shares = ", ".join(
        f"{100 * each['verbatim']['value']:.1f} % (begins {100 * each['begins']['value']:.1f} %, "
        f"n = {each['verbatim']['count']}) in batches of {size}"
        for size, each in cell["decoded"].items()
    )
    steps = cell["steps"].get("mean", 0.0)
    ways = f"{cell['dtype']}{', compiled' if cell['compiled'] else ''}"
    return (
        f"{ways}, {cell['set']}, margin {cell['margin']:g}: {cell['exact']} of {cell['ended']} "
        f"exact in {steps:.1f} steps (mean); verbatim {shares}"
    )


if __name__ == "__main__":
    main()
