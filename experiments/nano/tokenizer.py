"""Train the tokenizer of the bundled model: byte-level BPE of 4,096, every digit on its own.

Text is split as Qwen2's tokenizer splits it, so that the ids are the same where ``transformers``
rebuilds that class instead of reading tokenizer.json. There is no normalisation: decoding gives
back the text exactly. The newline is never merged with anything: training text has none.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from data import END_OF_TEXT, GROUPS, data_folder, held_out_documents, lm_text_folder, read_group
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# The words of Qwen2's tokenizer; every digit (any character of category N) stands alone.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Megabytes of each group that the tokenizer sees: encyclopedic text weighs most.
SAMPLE_MB = {
    "openstax": 13.0,
    "wikipedia": 6.0,
    "squad": 3.0,
    "government": 2.0,
    "qa": 4.0,
    "books": 3.5,
    "docs": 1.0,
}


def sample(data: Path, seed: int) -> list[str]:
    """A seeded sample of lines, none from documents that are held out."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for group in (g for g in GROUPS if GROUPS[g]):
        documents = read_group(lm_text_folder(data), group)
        kept = [documents[i] for i in np.flatnonzero(~held_out_documents(group, len(documents)))]
        units = [unit for document in kept for unit in document]
        size = 0.0
        for i in rng.permutation(len(units)):
            if size > SAMPLE_MB[group] * 1e6:
                break
            texts += units[i].split("\n")
            size += len(units[i])
    return texts


def train(texts: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE on ``texts``, with one special token of id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main() -> None:
    """Train on a sample and write tokenizer.json and tokenizer_config.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="data folder (default: DCM_TEST_DATA or ../shared/data)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train(sample(data_folder(args.data), args.seed), args.vocabulary)
    tokenizer.save(str(args.out / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "TokenizersBackend",
        # Without this AutoTokenizer rebuilds Qwen2's class, which normalises text (NFC).
        "auto_map": {"AutoTokenizer": [None, None]},
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    text = json.dumps(config, indent=2) + "\n"
    (args.out / "tokenizer_config.json").write_text(text)


if __name__ == "__main__":
    main()
