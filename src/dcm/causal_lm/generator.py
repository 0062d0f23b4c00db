"""CausalLMGenerator: a generator that delegates to a `CausalLM`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import Tensor

from dcm.causal_lm.fingerprint import fingerprint
from dcm.causal_lm.framing import Frame, Framing, Ids, chat_frame
from dcm.causal_lm.model import CausalLM
from dcm.errors import GeneratorError
from dcm.fields import pasteable
from dcm.generator import Generator
from dcm.strands import Layout, Strands, StrandScores


class CausalLMGenerator(Generator):
    """A generator that delegates to a `CausalLM`, loaded at first use."""

    def __repr__(self) -> str:
        return pasteable(self)

    @abstractmethod
    def load(self) -> CausalLM:
        """Load the model."""

    @cached_property
    def lm(self) -> CausalLM:
        """The loaded model, which was tried.

        Raises:
            GeneratorError: it cannot be loaded, or cannot be optimised behind vectors.
        """
        loaded = self.load()
        loaded.tried.at_load()
        return loaded

    @property
    def width(self) -> int:
        return int(self.lm.model.get_input_embeddings().weight.shape[1])

    @property
    def vocabulary(self) -> int:
        return int(self.lm.model.get_input_embeddings().weight.shape[0])

    @property
    def context_length(self) -> int:
        return self.lm.context_length - sum(map(len, self.frame))

    @property
    def embedding_scale(self) -> float:
        return self.lm.embedding_scale

    @property
    def opening(self) -> tuple[int, ...]:
        begin = self.lm.tokenizer.bos_token_id
        # A chat template begins as the model wants its texts to.
        return () if begin is None or self.framing == "chat" else (int(begin),)

    @property
    def framing(self) -> Framing:
        """What stands around each prompt, see `dcm.causal_lm.framing`."""
        return "raw"

    @cached_property
    def frame(self) -> tuple[Ids, Ids]:
        """As `Generator.frame`.

        Raises:
            GeneratorError: the model has no chat template that can stand around a prompt.
        """
        return (
            chat_frame(self.lm.tokenizer, self.vocabulary) if self.framing == "chat" else ((), ())
        )

    @cached_property
    def _frame(self) -> Frame | None:
        if self.framing == "raw":
            return None
        return Frame.of(self.frame, lambda ids: self.embed(ids.to(self.device)))

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.lm.model, self.lm.tokenizer, self.frame)

    @property
    def trials(self) -> Mapping[str, object]:
        return self.lm.trials

    def encode(self, text: str) -> tuple[int, ...]:
        return self.lm.encode(text)

    def text(self, ids: Sequence[int]) -> str:
        return self.lm.text(ids)

    def embed(self, ids: Tensor) -> Tensor:
        return self.lm.embed(ids)

    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        positions = content.shape[1] + 1 + max(map(len, strands.ids), default=0)
        if positions > self.context_length:
            raise GeneratorError(
                f"prompt and target take {positions} positions",
                f"The model takes {self._room}",
                "Use fewer slots or a shorter text",
            )
        if self._frame is not None:
            content, strands = self._frame.strands(content, strands)
        return self.lm.score(content, strands)

    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        positions = content.shape[1] + 2
        if positions > self.context_length:
            asked = f"prompt and one token take {positions} positions"
            raise GeneratorError(asked, f"The model takes {self._room}", "Use fewer slots")
        if self._frame is not None:
            (content, lead), layout = self._frame.prompts(content, lead, layout), "suffix"
        return self.lm.decode(content, lead, max_new_tokens, layout)

    @property
    def _room(self) -> str:
        around = sum(map(len, self.frame))
        beside = f" beside the {around} of its chat template" if around else ""
        return f"{self.context_length}{beside}"
