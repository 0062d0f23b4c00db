"""Tried: how a model may be run, each thing tried once, and what came of it."""

from __future__ import annotations

from typing import Any

import torch

from dcm.causal_lm import trials
from dcm.causal_lm.decoding import WAYS, Way
from dcm.causal_lm.generate_trial import generates_alike
from dcm.causal_lm.refusals import FITS
from dcm.errors import GeneratorError
from dcm.memory_limit import is_out_of_memory

# The least length at which anything is tried: up to it all lengths are taken to be alike.
_LEAST = 64

# How far the gradient may be from the true one. In few bits differences are coarse: deep models in
# bfloat16 showed 0.08, in 4 bits 0.2, and what layers drop is 0.37 of it and more.
_GRADIENT, _GRADIENT_IN_FEW_BITS = 0.05, 0.25


class Tried:
    """What may be done with a model, by trial.

    `at_load` tries what must hold, and what holds for short texts. How far windows of attention
    reach and where positions are stretched is not asked but tried, for each power of two of
    positions, when the first text of that length comes. A result is a function of the model and of
    the length alone, so that a row is computed in the same way whatever stands beside it.

    Args:
        model: a Hugging Face causal language model.
        most: most positions that it takes.
    """

    def __init__(self, model: Any, most: int) -> None:
        self._model = model
        self._most = most
        self._steady: dict[int, bool] = {}
        self._ways: dict[int, Way] = {}
        self._holds = False
        self._gradient_error: float | None = None
        self._generates_alike: bool | None = None

    def at_load(self) -> None:
        """Try what must hold; once.

        Raises:
            GeneratorError: the model cannot be optimised behind vectors, and why.
        """
        if self._holds:
            return
        asked = f"{type(self._model).__name__} cannot serve as a generator"
        try:
            self._at_load(asked)
        except GeneratorError:
            raise
        except Exception as error:  # whatever a model's own code raises
            if is_out_of_memory(error):
                there = f"Memory runs out where it is tried: {str(error).partition(chr(10))[0]}"
                raise GeneratorError(asked, there, FITS) from error
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            do = "Check its configuration, or use another model"
            raise GeneratorError(asked, f"It fails where it is run: {text}", do) from error
        self._holds = True

    @torch.no_grad()
    def _at_load(self, asked: str) -> None:
        model = self._model
        length = self.length(1)
        states = trials.states(model, input_ids=trials.some_ids(model, length)[None])
        if not bool(states.isfinite().all()):
            there = f"In {str(model.dtype).removeprefix('torch.')} its numbers are not finite"
            do = "Check its weights"
            if model.dtype == torch.float16:
                there += ": above 65504 it has none"
                do = "Use dtype=bfloat16 or float32"
            raise GeneratorError(asked, there, do)
        if not trials.reads_vectors(model):
            there = "It looks up more by a token's number than its embedding, which a content lacks"
            raise GeneratorError(asked, there, "Use a model without embeddings per layer")
        if not trials.is_causal(model, length):
            there = "Its positions see those behind them"
            do = "Set is_decoder in its config.json if it can be one, or use a causal model"
            raise GeneratorError(asked, there, do)
        self._gradient_error, rounding = trials.gradient_error(model)
        few_bits = model.dtype not in (torch.float32, torch.float64)
        most = _GRADIENT_IN_FEW_BITS if few_bits else _GRADIENT
        # What is left of it where a layer drops its gradient is not rounding.
        if not self._gradient_error <= max(most, 2 * rounding if few_bits else 0.0):
            there = "The gradient that it gives to what it is fed is "
            there += f"{self._gradient_error:.0%} off what its logits do"
            do = "Load it without quantisation, or with layers that have a backward pass"
            raise GeneratorError(asked, there, do)
        # Where what is read depends on what stands behind it, a cache may well be another model.
        texts, tokens = (2, 8) if self.steady(length) else (4, 24)
        self._generates_alike = generates_alike(model, length, texts=texts, tokens=tokens)
        if self._generates_alike is False:
            there = "Behind vectors its `generate` writes other tokens than the model chooses: it "
            there += "counts positions from elsewhere, or reads another model from its cache"
            raise GeneratorError(asked, there, "Use another model")
        self.way(length)

    @torch.no_grad()
    def steady(self, length: int) -> bool:
        """Whether what stands behind a position is nothing to it, in up to `length` positions.

        So that there may be padding behind it, and a cache of it remains true.
        """
        length = self.length(length)
        if length not in self._steady:
            short = length <= _LEAST
            below = min(8, length) if short else _below(length)
            self._steady[length] = (short or self.steady(below)) and trials.is_steady(
                self._model, below, length
            )
        return self._steady[length]

    @torch.no_grad()
    def way(self, length: int) -> Way:
        """How texts that end at `length` positions are read on."""
        length = self.length(length)
        if length not in self._ways:
            self._ways[length] = self._find_way(length)
        return self._ways[length]

    def _find_way(self, length: int) -> Way:
        prompts: list[int] = [1, length // 2 - 2, length - 4]
        ways: tuple[Way, ...] = WAYS
        if length > _LEAST:
            # A long text was a short one before, and is read on in the same way all along.
            prompts, ways = prompts[1:], WAYS[WAYS.index(self.way(_below(length))) :]
        for way in ways[:-1] if self.steady(length) else ():
            if all(trials.reads_on(self._model, way, max(1, prompt)) for prompt in prompts):
                return way
        return WAYS[-1]

    def record(self) -> dict[str, object]:
        """What was found, in words and numbers of JSON."""
        return {
            "gradient_error": self._gradient_error,
            "generate": "the same texts" if self._generates_alike else "takes no vectors",
            "padding": {str(length): holds for length, holds in sorted(self._steady.items())},
            "decoding": {str(length): str(way) for length, way in sorted(self._ways.items())},
        }

    def length(self, length: int) -> int:
        """The power of two at which is tried what holds for `length`.

        A function of that length alone, as is then what is computed for a line of it.
        """
        return min(max(_LEAST, 1 << (length - 1).bit_length()), self._most)


def _below(length: int) -> int:
    """The greatest power of two below a length."""
    return 1 << (length - 1).bit_length() - 1
