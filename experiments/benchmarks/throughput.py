"""Row-steps a second: dcm's solver and a plain loop over pairs, in the same run.

A row-step is one forward and backward pass of one row: of both its targets, or of its answer alone
with `--objective single`. Every row runs all its steps, so this is speed alone:
`time_to_exact.py` counts certified pairs. What the solver achieves is compared with two rates
measured beside it:

    overhead    the share of its time beyond bare model steps: the same contents and strands,
                scored and differentiated, and nothing else
    ceiling     the rate of bare matrix products, each of the model's shapes in its share of the
                FLOP, forward and backward, with as many lines as a step has positions

FLOP are counted as 4 x parameters touched x positions (forward, and backward to the content), the
head at target positions only. Positions are those a row needs: of a row with `suffix` the content
once; padding, and what a model computes twice because it cannot share, count as time alone.

    python experiments/benchmarks/throughput.py                        # the bundled model
    python experiments/benchmarks/throughput.py --shape qwen2.5-7b --dtype bfloat16
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import torch
from common import (
    Cell,
    PlainLoop,
    Record,
    emit,
    hardware,
    model_options,
    nano,
    now,
    ratio,
    reset_peak,
    settings,
    table,
)
from shapes import SHAPES, Shape
from torch import Tensor

import dcm
from dcm.causal_lm.products import product
from dcm.running.provenance import peak_memory
from dcm.solver import Stats
from dcm.solver.item import embedded

# More lines make a product no faster, and the head's no smaller.
_MOST_LINES = 8192

# Seconds in which clocks settle.
_SETTLED = 0.5


def random_pairs(tokens: int) -> Iterator[dcm.Example]:
    """Pairs of random letters without end, each text of `tokens` bytes with its closing token."""
    random = torch.Generator().manual_seed(0)
    for number in count():
        letters = torch.randint(97, 123, (2, tokens - 1), generator=random).tolist()
        question, answer = (bytes(each).decode() for each in letters)
        yield dcm.Example(id=str(number), question=question, answer=answer)


def solver(generator: Any, args: argparse.Namespace) -> Record:
    """Rates of the solver with every lane full, after a warm-up with the same shapes."""
    modes, adam = dcm.Modes(generator, args.layout), dcm.find("optimizer", "adam")()

    def solve(
        pairs: Iterator[dcm.Example], stats: Stats, lanes: int | None, steps: int
    ) -> Iterator[dcm.Outcome]:
        return dcm.solve(
            generator,
            pairs,
            # More than a model can reach: every row runs all its steps.
            criterion=dcm.find("criterion", "exact")(margin=1e9),
            objective=dcm.find("objective", args.objective)(),
            optimizer=adam,
            slots=args.slots,
            max_steps=steps,
            lanes=lanes,
            modes=modes,
            stats=stats,
        )

    found = Stats()
    # Two rounds of the lanes that the solver settles for.
    for _ in solve(random_pairs(args.tokens), found, args.lanes, 2):
        if found.finished >= 2 * found.lanes:
            break
    stats = Stats()
    pairs = islice(random_pairs(args.tokens), found.lanes)
    reset_peak(generator.device)
    began = now(generator.device)
    for _ in solve(pairs, stats, found.lanes, args.steps):
        pass
    seconds = now(generator.device) - began
    return {
        "row_steps_per_second": stats.row_steps / seconds,
        "certified_per_minute": None,  # random weights certify nothing
        "useful_share": stats.useful_row_steps / stats.row_steps,
        "lanes": stats.lanes,
        "row_steps": stats.row_steps,
        "seconds": seconds,
    }


def loop(generator: Any, args: argparse.Namespace) -> Record:
    """Rates of the plain loop."""
    modes = dcm.Modes(generator, args.layout)
    (pair,) = islice(random_pairs(args.tokens), 1)
    texts = ("answer",) if args.objective == "single" else ("question", "answer")
    PlainLoop.of_plan(generator, modes, args.slots, 2, texts).run(pair)
    plain = PlainLoop.of_plan(generator, modes, args.slots, args.steps, texts)
    began = now(generator.device)
    steps = plain.run(pair).row_steps
    seconds = now(generator.device) - began
    return {
        "row_steps_per_second": steps / seconds,
        "certified_per_minute": None,
        "row_steps": steps,
        "seconds": seconds,
    }


def bare_steps(generator: Any, args: argparse.Namespace, lanes: int) -> float:
    """Row-steps a second of the model alone, all lanes at once, at the solver's starts."""
    pairs = list(islice(random_pairs(args.tokens), lanes))
    modes, adam = dcm.Modes(generator, args.layout), dcm.find("optimizer", "adam")()
    objective, device = dcm.find("objective", args.objective)(), generator.device
    space = dcm.Space(args.slots, generator.width, generator.embedding_scale, device)
    rows = [objective.targets(pair) for pair in pairs]
    ids = [[generator.encode(target.text) for target in row] for row in rows]
    keys = [dcm.RowKey(0, pair.id, 0) for pair in pairs]
    content = adam.start(keys, space, embedded(generator, ids)).requires_grad_()
    strands = dcm.Strands(
        row=torch.arange(lanes, device=device).repeat_interleave(targets(args)),
        lead=modes.vectors([target.mode for row in rows for target in row]),
        ids=[each for row in ids for each in row],
        weight=torch.ones(lanes * targets(args), device=device),
        rows=lanes,
        layout=args.layout,
        temperature=adam.temperature(args.slots),
    )

    def step() -> None:
        torch.autograd.grad(generator.score(content, strands).nll.sum(), content)

    step()
    began = now(device)
    for _ in range(args.steps):
        step()
    return float(lanes * args.steps / (now(device) - began))


def targets(args: argparse.Namespace) -> int:
    """How many targets a row has."""
    return 1 if args.objective == "single" else 2


def positions(args: argparse.Namespace) -> int:
    """Positions that a row's strands need.

    With `prefix` each is [mode, K slots, all tokens but the last]; with `suffix` the K slots stand
    once, and each strand is [mode, all tokens but the last].
    """
    contents = 1 if args.layout == "suffix" else targets(args)
    return int(contents * args.slots + targets(args) * args.tokens)


def body(model: Any) -> list[tuple[str, Tensor, float]]:
    """All parameters but the input embeddings and the head, with the share of positions that meet
    each: all, or of an expert's those that are routed to it."""
    config = model.config.get_text_config()
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    routed = config.num_experts_per_tok / experts if experts else 1.0
    ends = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return [
        (name, parameter, routed if ".experts." in name else 1.0)
        for name, parameter in model.named_parameters()
        if id(parameter) not in ends
    ]


def flop_per_row_step(model: Any, positions: float, tokens: float) -> float:
    """FLOP that a row-step of so many positions and target tokens needs."""
    touched = sum(parameter.numel() * share for _, parameter, share in body(model))
    head = model.get_output_embeddings().weight.numel()
    return float(4 * (touched * positions + head * tokens))


def product_ceiling(model: Any, positions: float, tokens: float, lanes: int) -> float:
    """FLOP/s of the model's matrix products alone: the mean over its shapes, weighted by FLOP."""
    head = model.get_output_embeddings().weight
    # shape -> a matrix of it, the lines that meet it in a row-step, how many such matrices
    shapes: dict[tuple[int, ...], tuple[Tensor, float, int]] = {}
    for name, parameter, share in body(model):
        if parameter.dim() > 1 and not name.endswith("bias"):
            found = shapes.get(tuple(parameter.shape), (parameter, share * positions, 0))
            shapes[tuple(parameter.shape)] = (*found[:2], found[2] + 1)
    flop = seconds = 0.0
    for matrix, lines, times in [*shapes.values(), (head, tokens, 1)]:
        own = 4 * matrix.numel() * lines * times
        flop += own
        seconds += own / product_rate(matrix, min(_MOST_LINES, max(1, round(lines * lanes))))
    return flop / seconds


def product_rate(matrix: Tensor, lines: int) -> float:
    """FLOP/s of products with `matrix` [..., a, b], forward and as a gradient's."""
    *batch, one, other = matrix.shape
    ahead = matrix.new_empty(*batch, lines, one).normal_()
    back = matrix.new_empty(*batch, lines, other).normal_()

    def work() -> None:
        if batch:
            torch.matmul(ahead, matrix)
            torch.matmul(back, matrix.mT)
        else:  # as the model's layers do
            product(ahead, matrix.t())
            product(back, matrix)

    return 4 * lines * matrix.numel() / seconds_of(work, matrix.device)


def seconds_of(work: Callable[[], None], device: torch.device) -> float:
    """Seconds that `work` takes, the mean over `_SETTLED` of them."""
    repeats = 1
    work()
    while True:
        began = now(device)
        for _ in range(repeats):
            work()
        seconds = now(device) - began
        if seconds > _SETTLED:
            return seconds / repeats
        # As many as should be enough, by what is known of one.
        repeats = max(2 * repeats, math.ceil(1.1 * _SETTLED * repeats / max(seconds, 1e-6)))


def limit_memory(gibibytes: float, device: torch.device) -> None:
    """Let this process have no more of a GPU's memory."""
    # By its index, None for the current one: torch takes no device without an index here.
    total = torch.cuda.get_device_properties(device.index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gibibytes * 2**30 / total), device.index)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), help="default: the bundled model")
    parser.add_argument("--tokens", type=int, default=16, help="of a target (default: %(default)s)")
    parser.add_argument("--lanes", type=int, help="default: what the solver finds")
    parser.add_argument("--steps", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--objective", choices=("joint", "single"), default="joint")
    parser.add_argument("--memory-gib", type=float, metavar="N", help="GPU memory to use at most")
    model_options(parser, slots=32)
    args = parser.parse_args()
    if args.memory_gib is not None:
        if not args.device.startswith("cuda"):
            parser.error("--memory-gib limits a GPU's memory: add --device cuda")
        limit_memory(args.memory_gib, torch.device(args.device))
    generator = (
        Shape(args.shape, args.dtype, args.device, args.compute) if args.shape else nano(args)
    )
    model = generator.lm.model
    ours = solver(generator, args)
    peak = peak_memory(str(generator.device))
    bare = bare_steps(generator, args, ours["lanes"])
    plain = loop(generator, args)
    demand = float(positions(args)), float(targets(args) * args.tokens)
    flop = flop_per_row_step(model, *demand)
    achieved = ours["row_steps_per_second"] * flop
    ceiling = product_ceiling(model, *demand, ours["lanes"])
    result = {
        "solver": ours,
        "loop": plain,
        "ratio": ratio(ours["row_steps_per_second"], plain["row_steps_per_second"]),
        "bare_row_steps_per_second": bare,
        "overhead": 1 - ours["row_steps_per_second"] / bare,
        "flop_per_row_step": flop,
        "flop_per_second": achieved,
        "product_ceiling": ceiling,
        "share_of_ceiling": achieved / ceiling,
        "peak_memory_bytes": peak,
        "hardware": hardware(generator.device),
        "model": args.shape or "nano",
        "settings": settings(args),
    }
    emit(args, result, report(result, args))


def report(result: Record, args: argparse.Namespace) -> str:
    """The result as a table."""
    ours, plain = result["solver"], result["loop"]
    one = result["flop_per_row_step"] / 1e12
    per_second = "row_steps_per_second"
    bare, ceiling = result["bare_row_steps_per_second"], result["product_ceiling"] / 1e12
    rows: list[list[Cell]] = [
        ["solver", ours["lanes"], ours[per_second], ours[per_second] * one],
        ["bare model steps", ours["lanes"], bare, bare * one],
        ["matrix products alone", ours["lanes"], ceiling / one, ceiling],
        ["plain loop", 1, plain[per_second], plain[per_second] * one],
    ]
    return "\n".join(
        [
            f"{result['model']}, K={args.slots}, {args.tokens} tokens a target, {args.layout},",
            f"{args.objective}, {args.dtype}, {result['hardware']}",
            "",
            table(["", "lanes", "row-steps/s", "TFLOP/s"], rows),
            "",
            f"ratio, solver to plain loop    {result['ratio']:.1f}",
            f"useful share of row-steps      {ours['useful_share']:.1%}",
            f"overhead over bare steps       {result['overhead']:.1%}",
            f"share of the products' rate    {result['share_of_ceiling']:.1%}",
            f"peak memory                    {result['peak_memory_bytes'] / 2**30:.2f} GiB",
        ]
    )


if __name__ == "__main__":
    main()
