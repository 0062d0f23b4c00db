"""Bits per character of a causal language model on the first paragraphs of SQuAD 2.0 dev.

Each paragraph follows one end-of-text token and is cut at 511 tokens; the bits of its tokens are
summed over all paragraphs and divided by the number of characters that the tokens cover.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from data import data_folder, squad_file
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = Path(__file__).resolve().parents[2] / "plugins" / "dcm_nano" / "model"


def paragraphs(squad: Path, count: int) -> list[str]:
    """The first ``count`` contexts of a SQuAD file, in file order."""
    articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
    return [p["context"] for article in articles for p in article["paragraphs"]][:count]


@torch.no_grad()
def bits_per_character(model: Any, tokenizer: Any, texts: list[str], most: int = 511) -> float:
    """Bits per character over ``texts``, each cut at ``most`` tokens; a float32 forward pass."""
    nats, characters = 0.0, 0
    for text in texts:
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoding["input_ids"][:most]
        characters += encoding["offset_mapping"][len(ids) - 1][1]
        row = torch.tensor([[tokenizer.eos_token_id, *ids]], device=model.device)
        logits = model(row[:, :-1]).logits[0].float()
        nats += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
    return nats / math.log(2) / characters


@torch.no_grad()
def measure(folder: Path, squad: Path, count: int = 50, device: str = "cpu") -> dict[str, float]:
    """Load the model in float32 and measure it: the figure, and its health."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = paragraphs(squad, count)
    tokens = sum(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    embedding = model.get_input_embeddings().weight
    return {
        "bits_per_character": bits_per_character(model, tokenizer, texts),
        "characters_per_token": sum(map(len, texts)) / tokens,
        "parameters": sum(p.numel() for p in model.parameters()),
        "embedding_std": float(embedding.std()),
        "embedding_norm_mean": float(embedding.norm(dim=-1).mean()),
        "embedding_norm_max": float(embedding.norm(dim=-1).max()),
        "largest_weight": max(float(p.abs().max()) for p in model.parameters()),
        "bytes": sum(f.stat().st_size for f in folder.iterdir()),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the model")
    parser.add_argument("--data", help="data folder (default: DCM_TEST_DATA or ../shared/data)")
    parser.add_argument("--paragraphs", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    squad = squad_file(data_folder(args.data))
    for name, value in measure(args.model, squad, args.paragraphs, args.device).items():
        print(f"{name:22} {value:.4f}" if isinstance(value, float) else f"{name:22} {value:,}")


if __name__ == "__main__":
    main()
