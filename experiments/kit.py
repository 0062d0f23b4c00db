"""What the experiments on real models share: options, a deadline, texts, certification, figures."""

from __future__ import annotations

import json
import lzma
import math
import platform
import random
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import attrs
import torch
from optimisers import Decaying, LowRank
from safetensors.torch import load, save
from torch import Tensor

import dcm
from dcm import Example, Generator, Modes, Objective, Optimizer, Outcome, Strands, Target, find
from dcm.memory_limit import in_parts
from dcm.outcome import FAILING
from dcm.protocol.statistics import bootstrap
from dcm.running.certify import Certifier
from dcm.running.provenance import device_name

Record = dict[str, Any]
Token = tuple[int, ...]
NATS_A_BIT = math.log(2)


def options(doc: str, name: str) -> ArgumentParser:
    """The options that all of them have; `name` is the script's, and its JSON's."""
    parser = ArgumentParser(description=doc.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the real data sets")
    add("--generator", default="nano", metavar="NAME", help="default nano")
    add("--model", metavar="FOLDER", help="of a Hugging Face model, for --generator transformers")
    add("--dtype", help="float32 or bfloat16; default the generator's own")
    add("--device", help="cpu or cuda; default the generator's own")
    add("--seed", type=int, default=0, help="of all randomness; default 0")
    add("--seconds", type=float, default=math.inf, help="stop by then with what there is")
    add("--lanes", type=int, help="most rows at once; default what memory holds")
    add("--out", type=Path, default=Path(f"runs/{name}.json"), help=f"default runs/{name}.json")
    return parser


def generator(asked: Namespace, **more: Any) -> Generator:
    """The generator that the options name."""
    given = {"model": asked.model, "dtype": asked.dtype, "device": asked.device, **more}
    name = "transformers" if asked.model else asked.generator
    fields = {field.alias for field in attrs.fields(find("generator", name))}
    given = {key: value for key, value in given.items() if value is not None and key in fields}
    made: Generator = find("generator", name)(**given)
    return made


class Deadline:
    """How long a script has been at work, and whether it may go on."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds = time.perf_counter(), seconds

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return self.spent >= self.seconds


def solved(
    model: Generator,
    examples: Iterable[Example],
    deadline: Deadline,
    *,
    objective: Objective | None = None,
    modes: Modes | None = None,
    certified: bool = True,
    **more: Any,
) -> Iterator[Outcome]:
    """`dcm.solve` with certification, ended in the middle of a step where the time is up."""
    goal = objective or find("objective", "joint")()
    places = modes or Modes(model)

    def stop(_: object) -> None:
        if deadline.passed:
            raise TimeoutError

    try:
        for outcome in dcm.solve(
            model,
            examples,
            objective=goal,
            modes=places,
            verify=certifier(model, goal, places) if certified else None,
            on_step=stop,
            **more,
        ):
            # A component that fails would else count as a text that was not found.
            if outcome.reason.startswith(FAILING):
                raise RuntimeError(outcome.reason)
            yield outcome
    except TimeoutError:
        return


def certifier(
    model: Generator, objective: Objective, modes: Modes
) -> Callable[[Sequence[Outcome]], list[Outcome]]:
    """Certifies as a run does, the contents written and read back as bytes of a file."""
    judge = Certifier(model, objective, modes, run=None)  # type: ignore[arg-type]

    def certify(outcomes: Sequence[Outcome]) -> list[Outcome]:
        kept = {f"{place}": each.content for place, each in enumerate(outcomes)}
        back = load(save({key: value.contiguous() for key, value in kept.items()}))
        return judge.decode(outcomes, [back[key] for key in kept])

    return certify


@attrs.frozen
class OneText(Objective):
    """The answer alone, under the mode that its example's metadata names, else `text`."""

    def targets(self, example: Example) -> tuple[Target, ...]:
        return (Target(example.metadata.get("mode", "text"), example.answer),)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)


def optimizer(spec: str) -> Optimizer:
    """An optimiser as one writes it on a command line: "adam lr=0.5 text_scale=0 half=300".

    `half` and `rank` wrap it in those of `optimisers.py`, `count` in restarts.
    """
    name, *given = spec.split()
    values = {key: _value(text) for key, _, text in (each.partition("=") for each in given)}
    rank, half, count = (values.pop(key, None) for key in ("rank", "half", "count"))
    made: Optimizer = find("optimizer", name)(**values)
    made = LowRank(made, rank=rank) if rank else made
    made = Decaying(made, half=half) if half else made
    return find("optimizer", "restarts")(inner=made, count=count) if count else made


def _value(text: str) -> Any:
    if "," in text:
        return tuple(float(each) for each in text.split(","))
    return float(text) if re.search(r"[.e]", text) else int(text)


def books(data: Path, count: int, characters: int, seed: int = 0) -> list[str]:
    """Passages of public-domain books from all over the file, each from a paragraph's begin."""
    file = data / "lm_text" / "books_public_domain.txt.xz"
    text = lzma.decompress(file.read_bytes()).decode()
    chance = random.Random(seed)
    found = []
    for place in range(count):
        low, high = (len(text) - 2 * characters) * place // count, len(text) // count
        start = text.index("\n", low + chance.randrange(max(1, high - characters))) + 1
        found.append(text[start : start + characters].replace("\n", " ").strip())
    return found


def random_words(texts: Sequence[str], count: int, characters: int, seed: int = 0) -> list[str]:
    """Texts of words drawn evenly from the different words of `texts`."""
    words = sorted(set(re.findall(r"[A-Za-z]{2,}", " ".join(texts))))
    chance = random.Random(seed)
    return [" ".join(chance.choices(words, k=characters // 6))[:characters] for _ in range(count)]


def plain_nats(model: Generator, texts: Sequence[Token], before: Sequence[Token]) -> list[float]:
    """Sum over each text's tokens of -ln p after the tokens before it, one at least; no content."""

    def nats(jobs: Sequence[tuple[Token, Token]]) -> list[float]:
        found: dict[int, float] = {}
        by_length: dict[int, list[int]] = {}
        for place, (_, prompt) in enumerate(jobs):
            by_length.setdefault(len(prompt), []).append(place)
        for places in by_length.values():
            prompts = torch.tensor([jobs[place][1] for place in places])
            embedded = model.embed(prompts.to(model.device))
            ids = [jobs[place][0] for place in places]
            means = nll(model, embedded[:, 1:], embedded[:, 0], ids)
            found |= {p: mean * len(own) for p, mean, own in zip(places, means, ids, strict=True)}
        return [found[place] for place in range(len(jobs))]

    jobs = list(zip(texts, before, strict=True))
    parts = [jobs[start : start + 128] for start in range(0, len(jobs), 128)]
    return [value for part in parts for value in in_parts(nats, part)]


@torch.no_grad()
def nll(
    model: Generator,
    content: Tensor,
    lead: Tensor,
    ids: Sequence[Token],
    layout: dcm.Layout = "prefix",
) -> list[float]:
    """Mean nats of each text behind its own content [R, K, D] and lead [R, D]."""
    device = model.device
    rows = torch.arange(len(ids), device=device)
    weight = torch.ones(len(ids), device=device)
    strands = Strands(rows, lead.to(device), ids, weight, len(ids), layout)
    found: list[float] = model.score(content.to(device), strands).nll.tolist()
    return found


def about(asked: Namespace, model: Generator, **more: Any) -> Record:
    """What was asked for, and of what."""
    given = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(asked).items()
    }
    return {
        "options": {key: None if value == math.inf else value for key, value in given.items()},
        "model": {
            "name": asked.model or asked.generator,
            "dtype": str(model.dtype).removeprefix("torch."),
            "width": model.width,
            "vocabulary": model.vocabulary,
            "embedding_scale": model.embedding_scale,
            "logit_noise": model.logit_noise,
        },
        "machine": {
            "device": device_name(f"{model.device}"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **more,
    }


def write(path: Path, record: Record) -> None:
    """The record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    beside.replace(path)


def spread(values: Sequence[float]) -> Record:
    """Mean, standard deviation, median with interval, quartiles; of nothing, the count alone."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)
    return {
        "count": len(values),
        "mean": fmean(values),
        "sd": stdev(values) if len(values) > 1 else 0.0,
        "median": median(values),
        "median_interval": interval(values),
        "quartiles": [ordered[len(values) // 4], ordered[(3 * len(values)) // 4]],
        "least": ordered[0],
        "most": ordered[-1],
    }


def interval(values: Sequence[float]) -> list[float | None]:
    """The 95 % bootstrap interval of the median."""
    from dcm.protocol.statistics import median as over_axis

    found = bootstrap(values, over_axis)
    return [found.low, found.high]


def say(*parts: object) -> None:
    """A line at once, and not when a buffer is full."""
    print(*parts, flush=True)
