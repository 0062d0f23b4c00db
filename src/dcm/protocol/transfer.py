"""Transfer: does a content that was optimised for one text carry the other?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from dcm.example import Example
from dcm.generator import Generator
from dcm.grading import token_f1
from dcm.memory_limit import in_parts
from dcm.modes import Modes
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.results import read_results
from dcm.protocol.statistics import Estimate, bootstrap, paired_difference, rate
from dcm.running.run_directory import RunDirectory
from dcm.strands import Strands

if TYPE_CHECKING:
    from torch import Tensor

_BEYOND = 4  # tokens decoded past the target's length


@attrs.frozen
class Probe:
    """One mode's text behind contents that were optimised for the other mode alone.

    Attributes:
        optimised: the mode that the contents were optimised for.
        probed: the mode that was measured.
        loss: mean loss of the probed text behind its own example's content, in nats.
        random: mean loss behind random contents.
        full_context: mean loss after plain text.
        below_random: random - loss, paired; positive where the content helps at all.
        below_other: loss behind the content of another example - loss, paired; positive where it
            is this content that helps and not any optimised one.
        above_full_context: loss - full context, paired; at most zero where the content carries
            as much as the plain text.
        verbatim: share decoded verbatim under the probed mode.
        f1: mean token F1 of what was decoded.
    """

    optimised: str
    probed: str
    loss: Estimate
    random: Estimate
    full_context: Estimate
    below_random: Estimate
    below_other: Estimate
    above_full_context: Estimate
    verbatim: Estimate
    f1: Estimate

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            field.name: value if isinstance(value, str) else value.as_json()
            for field in attrs.fields(Probe)
            for value in [getattr(self, field.name)]
        }


@torch.no_grad()
def probe(
    run: str | Path,
    generator: Generator,
    examples: Mapping[str, Example],
    table: BaselineTable,
    modes: Modes,
    *,
    optimised: str,
    probed: str,
) -> Probe:
    """Measure and decode one mode's texts behind the contents of a run for the other mode.

    Args:
        run: the folder of a run with the objective `single`.
        generator: the model of the run.
        examples: id -> example.
        table: baselines of both modes.
        modes: the mode vectors.
        optimised: the run's mode.
        probed: the other one, `question` or `answer`.
    """
    # An example can fit with one text alone and not with both: then it has no baselines.
    results = [
        result
        for result in read_results(run).values()
        if result["content"] and result["id"] in table.losses
    ]
    directory = RunDirectory.open(run)
    contents = directory.load_contents([result["content"] for result in results])
    chosen = [examples[result["id"]] for result in results]
    texts = [getattr(example, probed) for example in chosen]
    jobs = list(zip(contents, texts, strict=True))
    losses = in_parts(lambda part: _losses(generator, part, modes, probed), jobs)
    # The next example's content: each serves once, none its own text.
    others = list(zip([*contents[1:], *contents[:1]], texts, strict=True))
    other = in_parts(lambda part: _losses(generator, part, modes, probed), others)
    decoded = in_parts(lambda part: _decoded(generator, part, modes, probed), jobs)
    random = [table.mean(example.id, "random", probed) for example in chosen]
    full_context = [table.mean(example.id, "full_context", probed) for example in chosen]
    return Probe(
        optimised=optimised,
        probed=probed,
        loss=bootstrap(losses),
        random=bootstrap(random),
        full_context=bootstrap([value for value in full_context if math.isfinite(value)]),
        below_random=paired_difference(losses, random),
        below_other=paired_difference(losses, other if len(jobs) > 1 else losses),
        above_full_context=_finite_difference(full_context, losses),
        verbatim=rate([found == text for found, text in zip(decoded, texts, strict=True)]),
        f1=bootstrap([token_f1(found, text) for found, text in zip(decoded, texts, strict=True)]),
    )


def _losses(
    generator: Generator, jobs: Sequence[tuple[Tensor, str]], modes: Modes, mode: str
) -> list[float]:
    if not jobs:
        return []
    device = generator.device
    strands = Strands(
        row=torch.arange(len(jobs), device=device),
        lead=modes.vectors([mode] * len(jobs)),
        ids=[generator.encode(text) for _, text in jobs],
        weight=torch.ones(len(jobs), device=device),
        rows=len(jobs),
        layout=modes.layout,
    )
    content = torch.stack([content for content, _ in jobs]).to(device)
    losses: list[float] = generator.score(content, strands).nll.tolist()
    return losses


def _decoded(
    generator: Generator, jobs: Sequence[tuple[Tensor, str]], modes: Modes, mode: str
) -> list[str]:
    if not jobs:
        return []
    return generator.decode(
        torch.stack([content for content, _ in jobs]).to(generator.device),
        modes.vectors([mode] * len(jobs)),
        [len(generator.encode(text)) + _BEYOND for _, text in jobs],
        modes.layout,
    )


def _finite_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if math.isfinite(a + b)]
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])
