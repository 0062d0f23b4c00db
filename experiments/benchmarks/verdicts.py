"""Does it matter how rows are scored? Packed, padded and one at a time, on the same pairs.

solved   pairs that get the same verdict, certified or not, by runs of each way
scored   contents of the packed run, scored in each way: the same verdict, exact or not, of each
         text, and the largest difference of a loss, nats a token

python experiments/benchmarks/verdicts.py --path dev-v2.0.json --model FOLDER --dtype bfloat16
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from common import certifier, hardware
from torch import Tensor

import dcm
from dcm.causal_lm import CausalLM
from dcm.causal_lm.generator import CausalLMGenerator
from dcm.causal_lm.loading import load_model


@attrs.frozen
class Scored(CausalLMGenerator):
    """A model whose strands are scored packed, or padded."""

    model: Any
    tokenizer: Any
    packed: bool

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    def load(self) -> CausalLM:
        return CausalLM(self.model, self.tokenizer, packed=self.packed)


def outcomes(
    generator: Scored, pairs: list[dcm.Example], lanes: int | None, args: argparse.Namespace
) -> tuple[dict[str, dcm.Outcome], float]:
    """id -> outcome, and seconds."""
    modes, began = dcm.Modes(generator), time.perf_counter()
    with TemporaryDirectory() as folder:
        solved = dcm.solve(
            generator,
            pairs,
            slots=args.slots,
            max_steps=args.max_steps,
            lanes=lanes,
            verify=certifier(generator, modes, Path(folder, "run")),
        )
        found = {each.example.id: each for each in solved}
    return found, time.perf_counter() - began


def scored(generator: Scored, found: list[dcm.Outcome], together: int) -> tuple[Tensor, Tensor]:
    """Whether each text of each content is exact, and its loss; so many contents at once."""
    modes, exact, nll = dcm.Modes(generator), [], []
    for first in range(0, len(found), together):
        some = found[first : first + together]
        texts = [
            (row, mode, text)
            for row, each in enumerate(some)
            for mode, text in (("question", each.example.question), ("answer", each.example.answer))
        ]
        strands = dcm.Strands(
            row=torch.tensor([row for row, _, _ in texts], device=generator.device),
            lead=modes.vectors([mode for _, mode, _ in texts]),
            ids=[generator.encode(text) for _, _, text in texts],
            weight=torch.ones(len(texts), device=generator.device),
            rows=len(some),
            layout=modes.layout,
        )
        contents = torch.stack([each.content for each in some]).to(generator.device)
        with torch.no_grad():
            scores = generator.score(contents, strands)
        exact.append(scores.exact.cpu())
        nll.append(scores.nll.float().cpu())
    return torch.cat(exact), torch.cat(nll)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", required=True, help="official JSON file of SQuAD")
    parser.add_argument("--model", required=True, help="folder of a Hugging Face model")
    parser.add_argument("--pairs", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--slots", type=int, default=32, help="K (default: %(default)s)")
    parser.add_argument("--max-steps", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    args = parser.parse_args()
    pairs = list(islice(dcm.find("dataset", "squad")(path=args.path), args.pairs))
    loaded = load_model(args.model, device=args.device, dtype=args.dtype, local=True)
    packed, padded = Scored(*loaded, packed=True), Scored(*loaded, packed=False)
    ways = {"packed": (packed, None), "padded": (padded, None), "one at a time": (padded, 1)}
    runs, result = {}, {"hardware": hardware(packed.device), **vars(args), "out": None}
    for name, (generator, lanes) in ways.items():
        runs[name], seconds = outcomes(generator, pairs, lanes, args)
        verdicts = [runs[name][each.id].certified for each in pairs]
        same = sum(
            runs[name][each.id].certified == runs["packed"][each.id].certified for each in pairs
        )
        result[name] = {"certified": sum(map(bool, verdicts)), "same": same, "seconds": seconds}
        print(f"solved, {name}: {result[name]}", flush=True)
    found = [runs["packed"][each.id] for each in pairs]
    found = [each for each in found if each.content is not None]
    exact, nll = scored(packed, found, len(found))
    for name, generator, together in (("padded", padded, len(found)), ("alone", padded, 1)):
        other, losses = scored(generator, found, together)
        result[f"scored, {name}"] = {
            "texts": len(exact),
            "same": int((other == exact).sum()),
            "largest difference": float((losses - nll).abs().max()),
        }
        print(f"scored, {name}: {result[f'scored, {name}']}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
