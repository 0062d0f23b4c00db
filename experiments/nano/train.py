"""Train the bundled model: a trunk at a constant learning rate, then decays from its end.

The trunk sees the broad mixture. Each mixture named by ``--anneal`` continues from the trunk's
end while the learning rate falls linearly to zero, and writes a model of its own. All lengths are
numbers of steps, so that a rerun does the same work on any machine.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from pathlib import Path
from typing import Any

import torch
from data import Corpus, build, data_folder, load, save, squad_file
from evaluate import MODEL, measure
from model import Nano, Shape, export
from optimiser import Optimiser
from tokenizers import Tokenizer

# Shares of the groups in a batch, by rows; they need not sum to one.
MIXTURES: dict[str, dict[str, float]] = {
    "broad": {
        "openstax": 44, "wikipedia": 7, "squad": 3, "government": 5,
        "qa": 13, "books": 16, "docs": 4, "synthetic": 8,
    },
    "mild": {
        "openstax": 44, "wikipedia": 11, "squad": 5, "government": 5,
        "qa": 14, "books": 11, "docs": 3, "synthetic": 7,
    },
    "encyclopedic": {
        "openstax": 38, "wikipedia": 18, "squad": 10, "government": 6,
        "qa": 12, "books": 8, "docs": 2, "synthetic": 6,
    },
}  # fmt: skip


class Trainer:
    """A model, its optimiser and its data, stepped together."""

    def __init__(self, args: argparse.Namespace, corpus: Corpus, device: torch.device) -> None:
        self.args, self.corpus, self.device = args, corpus, device
        torch.manual_seed(args.seed)
        self.generator = torch.Generator(device).manual_seed(args.seed)
        shape = Shape(mlp=args.mlp)
        compute = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.model = Nano(shape, compute).to(device)
        self.optimiser = Optimiser(self.model, args.matrix_lr, args.vector_lr, args.weight_decay)
        self.forward = torch.compile(self.model) if device.type == "cuda" else self.model
        self.began, self.tokens = time.monotonic(), 0

    def weights(self, mixture: str) -> torch.Tensor:
        """The shares of a mixture, in the corpus's order of groups."""
        shares = [MIXTURES[mixture][name] for name in self.corpus.names]
        return torch.tensor(shares, dtype=torch.float32, device=self.device)

    def run(self, mixture: str, first: int, last: int) -> None:
        """Steps ``first`` to ``last`` (excluded) on a mixture."""
        args, weights = self.args, self.weights(mixture)
        total = torch.zeros((), device=self.device)
        began, since = time.monotonic(), first
        for step in range(first, last):
            rows = self.corpus.rows(args.rows, args.length, weights, self.generator)
            nll, partition = self.forward(rows)
            loss = nll.mean()
            (loss + args.z_loss * partition.square().mean()).backward()
            warm = min(1.0, (step + 1) / args.warmup)
            self.optimiser.step(warm * min(1.0, (args.steps - step) / max(1, args.decay_steps)))
            total += loss.detach()
            self.tokens += args.rows * args.length
            if (step + 1) % args.print_every == 0 or step + 1 == last:
                mean = total.item() / (step + 1 - since)
                spent = time.monotonic() - began
                rate = (step + 1 - since) * args.rows * args.length / spent
                print(
                    f"{mixture:12} step {step + 1:6} loss {mean:.4f} "
                    f"{rate / 1e6:.2f} M tokens/s {time.monotonic() - self.began:.0f} s",
                    flush=True,
                )
                total.zero_()
                began, since = time.monotonic(), step + 1

    @torch.no_grad()
    def losses(self) -> dict[str, tuple[float, float]]:
        """For each group: loss on held-out text and on training text, nats a token."""
        made = {}
        fresh = torch.Generator(self.device).manual_seed(1)
        for i, name in enumerate(self.corpus.names):
            one = torch.zeros(len(self.corpus.names), device=self.device)
            one[i] = 1
            held = self.corpus.held_out_rows(name, self.args.length, 96)
            seen = self.corpus.rows(len(held), self.args.length, one, fresh)
            parts = (self._mean(held), self._mean(seen))
            made[name] = parts
        return made

    def _mean(self, rows: torch.Tensor) -> float:
        size = 16 if self.device.type == "cuda" else 2
        return sum(float(self.model(part)[0].sum()) for part in rows.split(size)) / (
            rows.shape[0] * (rows.shape[1] - 1)
        )

    def state(self) -> tuple[Any, ...]:
        """A copy of all that training has changed."""
        parts = (
            self.model.state_dict(),
            self.optimiser.adam.state_dict(),
            self.optimiser.muon.buffers,
            self.generator.get_state(),
            self.tokens,
        )
        return copy.deepcopy(parts)

    def restore(self, state: tuple[Any, ...]) -> None:
        """Go back to what ``state`` copied."""
        model, adam, buffers, generator, self.tokens = copy.deepcopy(state)
        self.model.load_state_dict(model)
        self.optimiser.adam.load_state_dict(adam)
        self.optimiser.muon.buffers = buffers
        self.generator.set_state(generator)

    def finish(self, name: str, squad: Path) -> None:
        """Write the model and print its figures."""
        out = self.args.out / name
        export(self.model, self.args.tokenizer, out)
        losses = self.losses()
        print(
            f"== {name}: {self.tokens / 1e6:.0f} M tokens; held-out / training loss, nats a token"
        )
        print("   " + "  ".join(f"{g} {a:.3f}/{b:.3f}" for g, (a, b) in losses.items()))
        figures = measure(out, squad, device=self.device.type)
        print("   " + "  ".join(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", help="data folder (default: DCM_TEST_DATA or ../shared/data)")
    add("--out", type=Path, required=True, help="folder for the models, one for each mixture")
    add("--tokenizer", type=Path, default=MODEL, help="folder with tokenizer.json")
    add("--cache", type=Path, help="file (.npz) to keep the tokens in between runs")
    add("--steps", type=int, default=11_900, help="steps of trunk and decay together")
    add("--decay-steps", type=int, default=3_400, help="steps of the decay")
    add("--trunk", default="broad", choices=MIXTURES, help="mixture of the trunk")
    add("--anneal", default="mild", help="mixtures of the decays, comma between them")
    add("--rows", type=int, default=128, help="rows of a batch")
    add("--length", type=int, default=1024, help="tokens of a row")
    add("--mlp", type=int, default=832, help="width of the feed-forward layers")
    add("--matrix-lr", type=float, default=6e-3, help="learning rate of Muon")
    add("--vector-lr", type=float, default=4e-3, help="learning rate of AdamW")
    add("--weight-decay", type=float, default=0.1)
    add("--warmup", type=int, default=200, help="steps in which the learning rate rises")
    add("--z-loss", type=float, default=1e-4)
    add("--seed", type=int, default=0)
    add("--views", type=int, default=4, help="ways in which the text is cut and shuffled")
    add("--synthetic-mb", type=int, default=40, help="megabytes of synthetic text")
    add("--print-every", type=int, default=500)
    add("--workers", type=int, default=min(16, os.cpu_count() or 1))
    return parser.parse_args()


def main() -> None:
    """Build the data, train the trunk, then each decay."""
    args = parse()
    began = time.monotonic()
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = data_folder(args.data)
    if args.cache and args.cache.exists():
        groups = load(args.cache)
    else:
        tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
        groups = build(data, tokenizer, args.seed, args.synthetic_mb, args.workers)
        if args.cache:
            save(groups, args.cache)
    corpus = Corpus(groups, end=0, views=args.views, seed=args.seed, device=device)
    sizes = "  ".join(f"{name} {size:,}" for name, size in corpus.sizes.items())
    print(f"tokens: {sizes}\ndata ready after {time.monotonic() - began:.0f} s", flush=True)
    trainer = Trainer(args, corpus, device)
    trunk = args.steps - args.decay_steps
    trainer.run(args.trunk, 0, trunk)
    if trunk:
        trainer.finish("trunk", squad_file(data))
    state = trainer.state()
    for name in args.anneal.split(","):
        trainer.restore(state)
        trainer.run(name, trunk, args.steps)
        trainer.finish(name, squad_file(data))


if __name__ == "__main__":
    main()
