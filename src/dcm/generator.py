"""Generator: a frozen causal language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dcm.strands import Layout, Strands, StrandScores


class Generator(ABC):
    """A frozen causal language model that scores and decodes behind continuous vectors.

    Shape letters: R rows, K slots, D embedding width, J strands, N prompts. A generator is a
    frozen attrs class whose fields say which model to load; the model is loaded at first use.
    Its parameters never change and never receive a gradient.
    """

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of the model's input embeddings."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token ids, 0 <= id < vocabulary."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Most positions (prompt and target) that the model takes, inside its `frame`."""

    @property
    @abstractmethod
    def embedding_scale(self) -> float:
        """Standard deviation of the input embedding matrix, the natural scale of a content."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the model lives; contents and mode vectors live there too."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """What the model computes in. Contents are float32 whatever it is."""

    @property
    def logit_noise(self) -> float:
        """How far a logit may differ between scoring and decoding, which run other kernels.

        A margin above it is safe to decode. Measured: float32 differs in the fifth digit,
        bfloat16 in the second.
        """
        import torch

        return 1e-2 if self.dtype in (torch.float32, torch.float64) else 0.5

    @property
    def opening(self) -> tuple[int, ...]:
        """Token ids that open an ordinary text (a begin-of-text token), if the model wants any."""
        return ()

    @property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids that stand before every prompt, and between every prompt and its target.

        `score` and `decode` put them there: those of a chat template, say.
        """
        return (), ()

    @property
    def fingerprint(self) -> str:
        """A short text that differs where weights, tokenizer or `frame` differ: a run goes on with
        the model it began with. Empty where nobody knows."""
        return ""

    @property
    def trials(self) -> Mapping[str, object]:
        """What was tried of the model and what came of it, in words and numbers of JSON.

        It goes into the run's record. Empty where nothing is tried.
        """
        return {}

    @abstractmethod
    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, closed by the end-of-text token."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids, up to and without the first end-of-text token."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings of `ids` [...] int64: [..., D] float32, no gradient."""

    @abstractmethod
    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        """Score every strand behind its row's content, teacher-forced.

        Args:
            content: [R, K, D] float32 on `device`.
            strands: J strands over the R rows.

        Returns:
            nll, exact and margin, each [J]; nll is differentiable in `content`.

        Raises:
            GeneratorError: prompt and target do not fit into `context_length`.
            torch.OutOfMemoryError: too many rows; the solver goes on with fewer.
        """

    @abstractmethod
    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        """Generate greedily, token by token with a KV cache, behind N prompts.

        Args:
            content: [N, K, D] float32 on `device`.
            lead: [N, D] float32, the mode vectors.
            max_new_tokens: most tokens to generate, for every prompt or one number for each.
            layout: where the mode vector stands.

        Returns:
            N texts, each up to its end-of-text token. A text that did not end within
            `max_new_tokens`, or where the context ends, is cut there.

        Raises:
            GeneratorError: prompt and one token do not fit into `context_length`.
        """
