"""Test doubles: a tiny random model on disk, a toy task, a generator with a known optimum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from dcm.causal_lm import CausalLM, CausalLMGenerator
from dcm.dataset import TaskDataset
from dcm.example import Example
from dcm.generator import Generator
from dcm.objective import Objective
from dcm.strands import Layout, Strands, StrandScores
from dcm.target import Target

END = "<|endoftext|>"


def save_tiny_model(folder: str | Path, architecture: str = "qwen2", seed: int = 0) -> Path:
    """Write a tiny random model and a byte tokenizer as a Hugging Face folder.

    Args:
        folder: where to.
        architecture: qwen2, llama, gpt_neox or gpt2.
        seed: seed of the weights.

    Returns:
        The folder.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, dict[str, Any]] = {
        "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
        "gpt_neox": {"intermediate_size": 128, "max_position_embeddings": 256},
    }
    common = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    gated = {"intermediate_size": 128, "num_key_value_heads": 2, "max_position_embeddings": 256}
    chosen = sizes.get(architecture, gated)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=257,
        bos_token_id=256,
        eos_token_id=256,
        # Larger weights than a model is born with, so that a content makes a difference.
        initializer_range=0.3,
        **({} if architecture == "gpt2" else common),
        **chosen,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    folder = Path(folder)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are the 256 bytes and an end-of-text token, number 256."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, END])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=END
    )


@attrs.frozen
class TinyGenerator(CausalLMGenerator):
    """A tiny random Qwen2-shaped model in memory. D = 64, vocabulary 257 bytes and end of text.

    Attributes:
        seed: seed of its weights.
    """

    seed: int = 0

    def load(self) -> CausalLM:
        from transformers import Qwen2Config, Qwen2ForCausalLM

        config = Qwen2Config(
            vocab_size=257,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.3,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = Qwen2ForCausalLM(config)
        return CausalLM(model.eval().requires_grad_(requires_grad=False), byte_tokenizer())

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32


@attrs.frozen
class QuadraticGenerator(Generator):
    """No language model: the loss of a strand is the squared distance of its content to a place.

    A target text "3.5" is reached by contents whose mean is 3.5, which decode to that text. The
    optimum is known, nothing is loaded, and a step takes microseconds.

    Attributes:
        tolerance: how near a content must be to be exact; the margin is tolerance - distance.
        memory: most rows that can be scored at once; more raise torch.OutOfMemoryError.
        poison: a target that contains this text has a loss of NaN from the third step on.
    """

    tolerance: float = 0.05
    memory: int = 1_000_000
    poison: str = "nan"

    width = 4
    vocabulary = 256
    context_length = 1024
    embedding_scale = 1.0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def logit_noise(self) -> float:
        return 0.0

    @cached_property
    def calls(self) -> dict[str, int]:
        """How often rows of each first target text were scored."""
        return {}

    def encode(self, text: str) -> tuple[int, ...]:
        return (*text.encode(), 0)

    def text(self, ids: Sequence[int]) -> str:
        kept = list(ids)
        return bytes(kept[: kept.index(0)] if 0 in kept else kept).decode(errors="replace")

    def embed(self, ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 4)

    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        if len(content) > self.memory:
            raise torch.OutOfMemoryError(f"{len(content)} rows, room for {self.memory}")
        texts = [self.text(ids) for ids in strands.ids]
        for text in texts:
            self.calls[text] = self.calls.get(text, 0) + 1
        places = [
            float("nan") if self.poison in text and self.calls[text] > 2 else _number(text)
            for text in texts
        ]
        if not content.shape[1]:
            nothing = torch.zeros(len(texts))
            return StrandScores(nothing + 1, nothing > 0, nothing)
        distance = content[strands.row].mean((1, 2)) - torch.tensor(places)
        margin = self.tolerance - distance.detach().abs()
        return StrandScores(distance.square(), margin > 0, margin)

    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        return [f"{mean:.1f}" for mean in content.mean((1, 2)).tolist()]


@attrs.frozen
class QuadraticObjective(Objective):
    """The squared distance to the number that the example's answer says."""

    def targets(self, example: Example) -> tuple[Target, ...]:
        return (Target("answer", example.answer),)

    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, strands.weight * nll)


@attrs.frozen
class ToyTask(TaskDataset):
    """`count` short questions with short answers of different lengths, no files.

    Attributes:
        count: how many.
    """

    count: int = 8

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return Example(
            id=f"toy-{index}", question="what " * (index % 5 + 1) + f"{index}?", answer=f"{index}"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float(len(text) % 7)
