"""What the benchmarks share: the plain loop, certification, counting, timing, tables."""

from __future__ import annotations

import json
import platform
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import torch
from torch import Tensor

import dcm
from dcm.memory_limit import forget_peak
from dcm.running.certify import Certifier
from dcm.running.provenance import device_name
from dcm.running.run_directory import RunDirectory
from dcm.solver.item import embedded
from dcm_optimizers.adam import Adam

Record = dict[str, Any]
Cell = str | float | int | None

_BOTH = ("question", "answer")


@attrs.frozen(eq=False)
class PlainLoop:
    """What one writes without a library: one pair at a time, `torch.optim.Adam`, no batch.

    A step is a model call with `labels=` for each of the texts, whether every token is the
    argmax from the same logits, backward of the sum of the losses, and Adam with its usual betas.
    It stops as soon as all texts are exact, with no margin: easier than the solver's rule. Layers
    that the solver has compiled run as they were, and multiply in the model's dtype.

    Attributes:
        generator: what holds the model, as `generator.lm.model`.
        modes: the mode vectors.
        slots: K.
        max_steps: most measurements of a pair.
        lr: Adam's learning rate.
        start: where contents start; its steps are not used.
        texts: what a content generates, the modes' names.
    """

    generator: Any
    modes: dcm.Modes
    slots: int
    max_steps: int
    lr: float
    start: dcm.Optimizer
    texts: tuple[str, ...] = _BOTH

    @classmethod
    def of_plan(
        cls,
        generator: Any,
        modes: dcm.Modes,
        slots: int,
        max_steps: int,
        texts: tuple[str, ...] = _BOTH,
    ) -> PlainLoop:
        """The loop as first planned: a small learning rate, a start at the embeddings' scale."""
        start = Adam(start_scale=1.0, text_scale=0.0)
        return cls(generator, modes, slots, max_steps, 0.01, start, texts)

    @classmethod
    def tuned(cls, generator: Any, modes: dcm.Modes, slots: int, max_steps: int) -> PlainLoop:
        """The loop with the learning rate and the start that the solver has by default."""
        lr = Adam().defaults(slots).lr * generator.embedding_scale
        return cls(generator, modes, slots, max_steps, lr, Adam())

    def run(self, example: dcm.Example) -> dcm.Outcome:
        """Optimise one content; not certified."""
        with torch.compiler.set_stance("force_eager"):
            return self._run(example)

    def _run(self, example: dcm.Example) -> dcm.Outcome:
        generator = self.generator
        space = dcm.Space(self.slots, generator.width, generator.embedding_scale, generator.device)
        ids = [generator.encode(getattr(example, text)) for text in self.texts]
        targets = [torch.tensor(each, device=generator.device) for each in ids]
        keys, texts = [dcm.RowKey(0, example.id, 0)], embedded(generator, [ids])
        content = self.start.start(keys, space, texts)[0].requires_grad_()
        leads = self.modes.vectors(self.texts)
        adam = torch.optim.Adam([content], lr=self.lr)
        exact, step = False, 0
        while step < self.max_steps:
            step += 1
            adam.zero_grad()
            measured = [
                self._measure(content, lead, target)
                for lead, target in zip(leads, targets, strict=True)
            ]
            losses, same = (torch.stack(each) for each in zip(*measured, strict=True))
            exact = bool(same.all())
            if exact:
                break
            losses.sum().backward()  # type: ignore[no-untyped-call]
            adam.step()
        return dcm.Outcome(
            example=example,
            status=dcm.Status.CONVERGED if exact else dcm.Status.MAX_STEPS,
            content=content.detach().cpu(),
            attempts=1,
            attempt=1,
            steps=step,
            row_steps=step,
            exact=exact,
        )

    def _measure(self, content: Tensor, lead: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Hugging Face's own loss of one target, and whether all its tokens are the argmax."""
        model = self.generator.lm.model
        embedded = model.get_input_embeddings()(target)
        parts = (lead[None], content) if self.modes.layout == "prefix" else (content, lead[None])
        prompt = torch.cat(parts).to(embedded.dtype)
        labels = torch.cat([target.new_full((len(prompt),), -100), target])
        out = model(inputs_embeds=torch.cat([prompt, embedded])[None], labels=labels[None])
        said = out.logits[0, len(prompt) - 1 : -1].argmax(-1)
        return out.loss, (said == target).all()


def certifier(generator: dcm.Generator, modes: dcm.Modes, folder: Path) -> Certifier:
    """The certification that an experiment uses, with a run directory in `folder`, a free one."""
    run = RunDirectory.create(folder, {})
    return Certifier(generator, dcm.find("objective", "joint")(), modes, run)


def figures(outcomes: Sequence[dcm.Outcome], seconds: float, stats: Any = None) -> Record:
    """Counts and rates of one contestant.

    Args:
        outcomes: what became of its pairs.
        seconds: what it took for all of them, certification included.
        stats: the solver's; without them every row-step counts as useful.
    """
    row_steps = stats.row_steps if stats else sum(each.row_steps for each in outcomes)
    useful = stats.useful_row_steps if stats else row_steps
    certified = sum(each.certified is True for each in outcomes)
    return {
        "pairs": len(outcomes),
        "exact": sum(each.exact for each in outcomes),
        "certified": certified,
        # A pair that never got exact took every step there was.
        "median_steps": median(each.steps if each.exact else each.row_steps for each in outcomes),
        "row_steps": row_steps,
        "useful_share": useful / row_steps,
        "seconds": seconds,
        "row_steps_per_second": row_steps / seconds,
        "certified_per_minute": 60 * certified / seconds,
    }


def ratio(one: float | None, other: float | None) -> float | None:
    """One rate by another; None where there is none to compare with."""
    return one / other if one is not None and other else None


def now(device: torch.device) -> float:
    """Seconds on a clock, read when the device has done all it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Count a GPU's peak memory from here on. A process's own cannot be reset."""
    if device.type == "cuda":
        forget_peak(device)


def hardware(device: torch.device) -> str:
    """What it ran on: the GPU's name, or the processor's and the number of threads."""
    if device.type == "cuda":
        return device_name(str(device))
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} thread(s)"


def model_options(parser: ArgumentParser, slots: int) -> None:
    """The options that every benchmark has."""
    parser.add_argument("--dtype", default="float32", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compute", choices=("bfloat16", "fp8"), help="of the solver's steps (default: --dtype)"
    )
    parser.add_argument("--slots", type=int, default=slots, help="K (default: %(default)s)")
    parser.add_argument("--layout", choices=("prefix", "suffix"), default="prefix")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def nano(args: Namespace) -> Any:
    """The bundled model, loaded."""
    make = dcm.find("generator", "nano")
    generator = make(dtype=args.dtype, device=args.device, compute=args.compute)
    generator.lm  # noqa: B018 - loads it
    return generator


def settings(args: Namespace) -> Record:
    """What was asked for."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(args).items()
        if key != "json"
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Columns as wide as they must be; numbers stand right."""
    lines = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def emit(args: Namespace, result: Record, text: str) -> None:
    """Print one JSON object or the readable text."""
    print(json.dumps(result, allow_nan=False) if args.json else text)


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
