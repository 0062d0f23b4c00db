"""RandomInit: the architecture of another model with random weights."""

from __future__ import annotations

from functools import cached_property

import attrs
import torch

from dcm import Generator, GeneratorError, fields, find
from dcm.causal_lm import CausalLM, CausalLMGenerator, Framing


def _nano() -> Generator:
    generator: Generator = find("generator", "nano")()
    return generator


@attrs.frozen
class RandomInit(CausalLMGenerator):
    """The same architecture and tokenizer as another generator, with untrained weights.

    What can be reached with it owes nothing to training. Weights are drawn as the architecture's
    own code draws them before training.

    Attributes:
        generator: the other one, a Hugging Face model.
        seed: seed of the weights.
    """

    generator: Generator = attrs.field(
        factory=_nano,
        converter=fields.generator,
    )
    seed: int = 0

    def load(self) -> CausalLM:
        from transformers import AutoModelForCausalLM

        if not isinstance(self.generator, CausalLMGenerator):
            asked = f"{type(self.generator).__name__} cannot be given random weights"
            do = "Choose a generator that runs a Hugging Face model"
            raise GeneratorError(asked, "Its architecture is not known", do)
        trained = self.generator.lm
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = AutoModelForCausalLM.from_config(trained.model.config, dtype=torch.float32)
        model = model.to(device=self.generator.device, dtype=self.generator.dtype)
        return CausalLM(model.eval().requires_grad_(requires_grad=False), trained.tokenizer)

    @property
    def framing(self) -> Framing:
        """The other one's."""
        other = self.generator
        return other.framing if isinstance(other, CausalLMGenerator) else "raw"

    @cached_property
    def device(self) -> torch.device:
        return self.generator.device

    @cached_property
    def dtype(self) -> torch.dtype:
        return self.generator.dtype
