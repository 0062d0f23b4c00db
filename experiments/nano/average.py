"""Average two models of one shape, weight by weight: (1 - share) * first + share * second.

The trunk's end is noisy, the end of a decay has learnt small groups by heart; between them the
loss on held-out text is lower than at either. Averaged in float32, written in bfloat16.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def average(first: Path, second: Path, share: float) -> dict[str, torch.Tensor]:
    """The averaged weights, float32, of two folders that ``train.py`` wrote."""
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    return {name: a[name].float().lerp(b[name].float(), share) for name in a}


def main() -> None:
    """Average and write a folder that ``transformers`` loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path, help="folder of the trunk")
    parser.add_argument("second", type=Path, help="folder of the decay")
    parser.add_argument("--share", type=float, default=0.35, help="weight of the second")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    state = average(args.first, args.second, args.share)
    rounded = {name: value.to(torch.bfloat16) for name, value in state.items()}
    save_file(rounded, args.out / "model.safetensors", metadata={"format": "pt"})
    for file in args.first.glob("*.json"):
        if file.resolve() != (args.out / file.name).resolve():
            shutil.copyfile(file, args.out / file.name)


if __name__ == "__main__":
    main()
