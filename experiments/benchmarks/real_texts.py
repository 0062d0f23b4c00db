"""Texts of real lengths: rows that come and go, from a queue longer than the lanes.

Two questions, of a model with weights, or of a known shape with random ones:

    sustained   row-steps a second while all lanes are full and examples wait, after warm-up. Rows
                of random weights never get exact: there each ends after a few steps of its own, as
                rows of a trained model do.
    whole runs  seconds until the first N pairs are optimised and certified, everything after
                loading counted. Of a trained model alone.

Beside it, in the same run: the plain loop over pairs, and a **padded batch that waits for its
slowest row**, as is usual, with the same start, learning rate and margin. FLOP are counted as in
`throughput.py`.

    python experiments/benchmarks/real_texts.py                      # nano, bundled samples
    python experiments/benchmarks/real_texts.py --path dev-v2.0.json --model FOLDER --dtype bfloat16
    python experiments/benchmarks/real_texts.py --shape qwen2.5-7b --dtype bfloat16 --compiled
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import attrs
import torch
from common import (
    Cell,
    PlainLoop,
    Record,
    certifier,
    emit,
    figures,
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
from throughput import flop_per_row_step, product_ceiling
from torch import Tensor

import dcm
from dcm.running.provenance import peak_memory
from dcm.solver import Stats
from dcm.solver.item import embedded

# Steps that rows of random weights take: what SQuAD pairs took on small trained models.
_LEAST, _MOST = 4, 11

# Of SQuAD's questions and answers, with SmolLM2's tokenizer.
_BYTES_A_TOKEN = 4.5


class Left(NamedTuple):
    """[R] int64: the step at which each row ends; 0 before its first."""

    at: Tensor


@attrs.frozen
class After(dcm.ConvergenceCriterion):
    """A row ends after 4 to 11 steps, which its first loss decides: as good as by chance."""

    def init(self, rows: int, device: torch.device | None = None) -> Left:
        return Left(torch.zeros(rows, dtype=torch.int64, device=device))

    def update(self, state: Left, seen: dcm.Observation) -> tuple[Left, Tensor]:
        drawn = _LEAST + (seen.loss * 1e4).nan_to_num().long() % (_MOST - _LEAST + 1)
        at = torch.where(state.at == 0, drawn, state.at)
        return Left(at), seen.step >= at


def sustained(generator: Any, pairs: Sequence[dcm.Example], args: argparse.Namespace) -> Record:
    """Rates with lanes full and examples waiting, after warm-up."""
    stats, device = Stats(), generator.device
    taken = 0
    trained = args.shape is None

    def endless() -> Iterator[dcm.Example]:
        nonlocal taken
        for number in count():
            taken += 1
            pair = pairs[number % len(pairs)]
            yield attrs.evolve(pair, id=f"{pair.id}/{number // len(pairs)}")

    marks: list[tuple[float, int]] = []
    began = now(device)

    def on_step(stats: Stats) -> None:
        # Every step waits for the device anyway, to read what it measured.
        marks.append((now(device) - began, stats.row_steps))

    reset_peak(device)
    running = dcm.solve(
        generator,
        endless(),
        criterion=None if trained else After(),
        optimizer=dcm.find("optimizer", "adam")(),
        slots=args.slots,
        max_steps=args.max_steps,
        lanes=args.lanes,
        modes=dcm.Modes(generator, args.layout),
        stats=stats,
        on_step=on_step,
    )
    for _ in running:
        if marks and marks[-1][0] >= args.warm_up + args.seconds:
            break
    running.close()
    window = [mark for mark in marks if mark[0] >= args.warm_up]
    seconds, row_steps = (window[-1][i] - window[0][i] for i in (0, 1))
    positions, tokens = demand(generator, islice(pairs, 1000), args)
    rate = row_steps / seconds
    flop = flop_per_row_step(generator.lm.model, positions, tokens)
    ceiling = product_ceiling(generator.lm.model, positions, tokens, stats.lanes)
    return {
        "row_steps_per_second": rate,
        "lanes": stats.lanes,
        "active": stats.active,
        "seconds": seconds,
        "warm_up_seconds": args.warm_up,
        "steps": len(window),
        "positions_per_row": positions,
        "target_tokens_per_row": tokens,
        "flop_per_second": rate * flop,
        "product_ceiling": ceiling,
        "share_of_ceiling": rate * flop / ceiling,
        "peak_memory_bytes": peak_memory(str(device)),
    }


def demand(
    generator: Any, pairs: Iterable[dcm.Example], args: argparse.Namespace
) -> tuple[float, float]:
    """Positions that a row needs, and its target tokens, in the mean."""
    positions = tokens = rows = 0
    for pair in pairs:
        lengths = [len(generator.encode(text)) for text in (pair.question, pair.answer)]
        contents = 1 if args.layout == "suffix" else 2
        positions, tokens = positions + contents * args.slots + sum(lengths), tokens + sum(lengths)
        rows += 1
    return positions / rows, tokens / rows


def whole(generator: Any, pairs: Sequence[dcm.Example], args: argparse.Namespace) -> Record:
    """Figures of `dcm.solve` with certification."""
    stats, modes = Stats(), dcm.Modes(generator, args.layout)
    spent = 0.0
    with TemporaryDirectory() as folder:
        certify = certifier(generator, modes, Path(folder) / "run")

        def verify(outcomes: Sequence[dcm.Outcome]) -> list[dcm.Outcome]:
            nonlocal spent
            began = now(generator.device)
            found = certify(outcomes)
            spent += now(generator.device) - began
            return found

        began = now(generator.device)
        outcomes = list(
            dcm.solve(
                generator,
                pairs,
                slots=args.slots,
                max_steps=args.max_steps,
                lanes=args.lanes,
                modes=modes,
                verify=verify,
                stats=stats,
            )
        )
        seconds = now(generator.device) - began
    return {**figures(outcomes, seconds, stats), "certification_share": spent / seconds}


def waiting_batch(
    generator: Any, pairs: Sequence[dcm.Example], args: argparse.Namespace, size: int
) -> Record:
    """Figures of batches that are padded to their longest text and wait for their slowest row."""
    modes, device = dcm.Modes(generator, args.layout), generator.device
    with TemporaryDirectory() as folder:
        certify = certifier(generator, modes, Path(folder) / "run")
        began = now(device)
        outcomes: list[dcm.Outcome] = []
        for first in range(0, len(pairs), size):
            batch = WaitingBatch(generator, modes, args.slots, args.max_steps)
            outcomes += certify(batch.run(pairs[first : first + size]))
        seconds = now(device) - began
    return {**figures(outcomes, seconds), "batch": size}


@attrs.frozen(eq=False)
class WaitingBatch:
    """One batch of pairs: one model call a step, until the last of them is exact by the margin."""

    generator: Any
    modes: dcm.Modes
    slots: int
    max_steps: int

    @torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
    def run(self, pairs: Sequence[dcm.Example]) -> list[dcm.Outcome]:
        generator, device = self.generator, self.generator.device
        model, adam = generator.lm.model, dcm.find("optimizer", "adam")()
        ids = [[generator.encode(text) for text in (p.question, p.answer)] for p in pairs]
        space = dcm.Space(self.slots, generator.width, generator.embedding_scale, device)
        keys = [dcm.RowKey(0, pair.id, 0) for pair in pairs]
        content = adam.start(keys, space, embedded(generator, ids))
        state = adam.init(content, space)
        flat = [each for row in ids for each in row]
        longest = max(map(len, flat))
        target = torch.tensor([[*each, *[-100] * (longest - len(each))] for each in flat])
        target = target.to(device)
        given = target != -100
        fed = model.get_input_embeddings()(target.clamp(min=0))[:, :-1]
        lead = self.modes.vectors(["question", "answer"] * len(pairs)).to(fed.dtype)[:, None]
        mask = torch.cat([given.new_ones(len(flat), self.slots + 1), given[:, :-1]], 1).long()
        done = torch.zeros(len(pairs), dtype=torch.bool, device=device)
        steps = torch.zeros(len(pairs), dtype=torch.int64, device=device)
        best = content.clone()
        taken = 0
        while taken < self.max_steps and not bool(done.all()):
            taken += 1
            leaf = content.detach().requires_grad_()
            copies = leaf.to(fed.dtype).repeat_interleave(2, 0)
            parts = [lead, copies] if self.modes.layout == "prefix" else [copies, lead]
            logits = model(
                inputs_embeds=torch.cat([*parts, fed], 1),
                attention_mask=mask,
                use_cache=False,
                logits_to_keep=longest,
            ).logits.float()
            loss = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), target, reduction="none", ignore_index=-100
            )
            mean = loss.sum(1) / given.sum(1)
            (gradient,) = torch.autograd.grad(mean.sum(), leaf)
            with torch.no_grad():
                place = target.clamp(min=0)[..., None]
                own = logits.gather(-1, place)
                others = logits.scatter(-1, place, float("-inf")).amax(-1, keepdim=True)
                least = torch.where(given, (own - others)[..., 0], torch.inf).amin(1)
                now_done = (least >= generator.logit_noise).view(-1, 2).all(1) & ~done
                best = torch.where(now_done[:, None, None], content, best)
                steps = torch.where(now_done, taken, steps)
                done |= now_done
                moved, state = adam.step(content, gradient, state)
                content = torch.where(done[:, None, None], content, moved)
        return [
            dcm.Outcome(
                example=pair,
                status=dcm.Status.CONVERGED if exact else dcm.Status.MAX_STEPS,
                content=own,
                attempts=1,
                attempt=1,
                steps=step,
                row_steps=taken,
                exact=exact,
            )
            for pair, own, exact, step in zip(
                pairs, best.cpu(), done.tolist(), steps.tolist(), strict=True
            )
        ]


def plain(generator: Any, pairs: Sequence[dcm.Example], args: argparse.Namespace) -> Record:
    """Figures of the plain loop with dcm's rate and start."""
    modes, device = dcm.Modes(generator, args.layout), generator.device
    one = PlainLoop.tuned(generator, modes, args.slots, args.max_steps)
    with TemporaryDirectory() as folder:
        certify = certifier(generator, modes, Path(folder) / "run")
        began = now(device)
        outcomes = certify([one.run(pair) for pair in pairs])
        seconds = now(device) - began
    return figures(outcomes, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", help="official JSON file of SQuAD (default: bundled samples)")
    parser.add_argument("--model", help="folder of a Hugging Face model (default: the bundled one)")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="a shape with random weights")
    parser.add_argument("--pairs", type=int, nargs="+", default=[200], help="of whole runs")
    parser.add_argument("--batch", type=int, default=64, help="of the batch that waits")
    parser.add_argument("--batch-pairs", type=int, default=128, help="how many pairs it gets")
    parser.add_argument("--loop-pairs", type=int, default=4, help="how many the plain loop gets")
    parser.add_argument("--max-steps", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--lanes", type=int, help="default: found")
    parser.add_argument("--warm-up", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the sustained rate")
    either = argparse.BooleanOptionalAction
    parser.add_argument("--compiled", action=either, help="default: when it pays")
    model_options(parser, slots=32)
    args = parser.parse_args()
    generator = load(args)
    generator.lm.packs(args.layout, args.slots + 64)  # tried at load
    source = (
        dcm.find("dataset", "squad")(path=args.path)
        if args.path
        else dcm.find("dataset", "samples")()
    )
    pairs = list(islice(source, max([1000, *args.pairs])))
    if args.shape:
        pairs = [shortened(pair) for pair in pairs]
    result: Record = {
        "hardware": hardware(generator.device),
        "model": args.shape or args.model or "nano",
        "settings": settings(args),
    }
    if args.shape is None:
        result["whole"] = [whole(generator, pairs[:number], args) for number in args.pairs]
        result["batch"] = waiting_batch(generator, pairs[: args.batch_pairs], args, args.batch)
        result["loop"] = plain(generator, pairs[: args.loop_pairs], args)
        best = max(each["certified_per_minute"] for each in result["whole"])
        result["ratio_to_batch"] = ratio(best, result["batch"]["certified_per_minute"])
        result["ratio_to_loop"] = ratio(best, result["loop"]["certified_per_minute"])
    result["sustained"] = sustained(generator, pairs, args)
    emit(args, result, report(result, args))


def shortened(pair: dcm.Example) -> dcm.Example:
    """A pair with as many bytes as a tokenizer of words makes tokens of it: shapes have bytes."""
    question, answer = (
        text[: max(1, round(len(text) / _BYTES_A_TOKEN))] for text in (pair.question, pair.answer)
    )
    return attrs.evolve(pair, question=question, answer=answer, aliases=(), variants=())


def load(args: argparse.Namespace) -> Any:
    """The model that was asked for."""
    if args.shape:
        generator: Any = Shape(args.shape, args.dtype, args.device, args.compute, args.compiled)
    elif args.model:
        generator = dcm.find("generator", "transformers")(
            model=args.model, dtype=args.dtype, device=args.device, compiled=args.compiled
        )
    else:
        generator = nano(args)
    generator.lm  # noqa: B018 - loads it
    return generator


def report(result: Record, args: argparse.Namespace) -> str:
    """The result as tables."""
    lines = [
        f"{result['model']}, K={args.slots}, {args.layout}, {args.dtype}, {result['hardware']}",
        "",
    ]
    rows: list[list[Cell]] = []
    contestants = [(f"solver, {each['pairs']} pairs", each) for each in result.get("whole", [])]
    others = (("padded batch that waits", "batch"), ("plain loop", "loop"))
    contestants += [(name, result[key]) for name, key in others if key in result]
    for name, each in contestants:
        share = each.get("certification_share")
        rows.append(
            [
                name,
                each["certified"],
                each["pairs"],
                each["median_steps"],
                each["row_steps"] / each["pairs"],
                each["seconds"],
                each["certified_per_minute"],
                "-" if share is None else f"{share:.0%}",
            ]
        )
    if rows:
        head = ["", "certified", "of", "steps", "row-steps/pair", "seconds", "cert./min", "cert."]
        lines += [table(head, rows), ""]
        lines += [
            f"ratio, solver to the batch that waits    {result['ratio_to_batch']:.1f}",
            f"ratio, solver to the plain loop          {result['ratio_to_loop']:.1f}",
        ]
    ours = result["sustained"]
    found = [
        ("sustained row-steps/s", f"{ours['row_steps_per_second']:,.0f}"),
        ("lanes, and of them in use", f"{ours['lanes']}, {ours['active']}"),
        ("TFLOP/s", f"{ours['flop_per_second'] / 1e12:.1f}"),
        ("share of the products' rate", f"{ours['share_of_ceiling']:.1%}"),
        ("positions a row", f"{ours['positions_per_row']:.1f}"),
        ("target tokens a row", f"{ours['target_tokens_per_row']:.1f}"),
        ("peak memory", f"{ours['peak_memory_bytes'] / 2**30:.2f} GiB"),
    ]
    lines += [f"{name:<39}  {value}" for name, value in found]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
