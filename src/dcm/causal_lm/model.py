"""CausalLM: any Hugging Face causal language model, frozen, behind continuous vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.again import within
from dcm.causal_lm.attention import ready_attention
from dcm.causal_lm.decoding import decode_greedily
from dcm.causal_lm.head import Head, linear_head
from dcm.causal_lm.loading import load_model
from dcm.causal_lm.packed import PackedScoring
from dcm.causal_lm.padded import PaddedScoring
from dcm.causal_lm.positions import stated_context
from dcm.causal_lm.products import Compute, Products
from dcm.causal_lm.regions import Regions
from dcm.causal_lm.static_decoding import StaticDecoding
from dcm.causal_lm.tokens import decode, encode
from dcm.causal_lm.trials import Score, scores_as_alone
from dcm.causal_lm.tried import Tried
from dcm.strands import Layout, Strands, StrandScores

_NO_LIMIT = 1 << 30

# Texts whose token ids are kept.
_MOST_ENCODED = 1 << 14


@attrs.frozen(eq=False)
class CausalLM:
    """A loaded model and its tokenizer. Shape letters as in `Generator`.

    Attributes:
        model: a Hugging Face causal language model, in evaluation mode, without gradients.
        tokenizer: its tokenizer.
        compiled: whether its layers are compiled, see `dcm.causal_lm.regions`; None where that
            pays.
        compute: what its linear layers multiply in where a gradient is wanted, see
            `dcm.causal_lm.products`; None for what the model is in.
        packed: whether strands are scored packed where the model allows it, see
            `dcm.causal_lm.packing`; None where that pays: on a GPU.
    """

    model: Any
    tokenizer: Any
    compiled: bool | None = None
    compute: Compute | None = None
    packed: bool | None = None
    _products: Products = attrs.field(init=False)
    _packs: dict[tuple[Layout, int], Literal["shared", "alone"] | None] = attrs.field(
        factory=dict, init=False
    )
    _encoded: dict[str, tuple[int, ...]] = attrs.field(factory=dict, init=False)
    _shares: dict[tuple[Layout, int], bool] = attrs.field(factory=dict, init=False)

    @_products.default
    def _(self) -> Products:
        return Products(self.model, self.compute)

    @classmethod
    def load(cls, name: str, **options: Any) -> CausalLM:
        """Load a model from a folder or the Hugging Face hub; see `loading.load_model`.

        Raises:
            GeneratorError: there is no complete model at `name`.
        """
        return cls(*load_model(name, **options))

    @property
    def end(self) -> int:
        """Id of the end-of-text token."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def embedding_scale(self) -> float:
        """Standard deviation of the input embedding matrix."""
        table = self.model.get_input_embeddings().weight
        # By `embed`, since some models scale their embeddings; part by part, since a float32
        # copy of a large vocabulary is gigabytes.
        total = squares = 0.0
        for ids in torch.split(torch.arange(len(table), device=table.device), 4096):
            part = self.embed(ids).double()
            total += float(part.sum())
            squares += float(part.square().sum())
        mean = total / table.numel()
        return float((squares / table.numel() - mean**2) ** 0.5)

    @cached_property
    def context_length(self) -> int:
        """Most positions that the model takes; a great number where it states none."""
        return stated_context(self.model) or _NO_LIMIT

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, closed by the end-of-text token."""
        # A run asks for each text several times: to look at it, to optimise, to certify.
        found = self._encoded.get(text)
        if found is None:
            if len(self._encoded) >= _MOST_ENCODED:
                self._encoded.clear()
            found = self._encoded[text] = encode(self.tokenizer, text)
        return found

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids, up to and without the first end-of-text token."""
        return decode(self.tokenizer, ids)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings of `ids` [...] int64: [..., D] float32."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded.detach().float()

    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        """Score J strands behind `content` [R, K, D], teacher-forced; see `Generator.score`."""
        if not len(strands):
            nothing = torch.zeros(0, device=content.device)
            return StrandScores(nothing, nothing > 0, nothing)
        layout = strands.layout
        step = content.requires_grad and torch.is_grad_enabled()
        packs = self.packs(layout, content.shape[1] + 1 + max(map(len, strands.ids)))
        fast = partial(self._products.fast, step=step)
        with ready_attention(self.model.device), within(fast):
            if packs:
                return self._packed.score(content, strands, shares=packs == "shared", step=step)
            shares = partial(self.shares_prompts, layout)
            return self._padded.score(content, strands, shares=shares, step=step)

    def packs(self, layout: Layout, length: int) -> Literal["shared", "alone"] | None:
        """Whether strands of up to `length` positions, prompt and all, are scored packed.

        `shared` where strands may stand behind one prompt, `alone` where each has its own. None
        where the model cannot, which is tried, and on a CPU, where a row is to score alone as it
        does among others, to the last bit, unless `packed` asks for it.
        """
        if not (self._on_gpu if self.packed is None else self.packed):
            return None
        length = self.tried.length(length)
        if (layout, length) not in self._packs:
            found: Literal["shared", "alone"] | None = None
            for way in ("shared", "alone"):
                score = partial(self._packed.score, shares=way == "shared", step=False)
                if self._as_alone(score, length, layout):
                    found = way
                    break
            # Not before: a trial that memory ended has shown nothing, and is made again.
            self._packs[layout, length] = found
        return self._packs[layout, length]

    def shares_prompts(self, layout: Layout, length: int) -> bool:
        """Whether strands can stand behind one prompt, in padded lines of up to `length` positions.

        Tried, see `dcm.causal_lm.trials`: windows and chunks of attention are masks of the model's
        own, which a mask from outside replaces, layers that are no attention carry one strand over
        to the next, and some models take positions and count for themselves.
        """
        length = self.tried.length(length)
        if (layout, length) not in self._shares:
            score = partial(self._padded.score, shares=None, step=False)
            self._shares[layout, length] = self._as_alone(score, length, layout)
        return self._shares[layout, length]

    def _as_alone(self, score: Score, length: int, layout: Layout) -> bool:
        with self._products.plain(), self.regions.eager(), ready_attention(self.model.device):
            return scores_as_alone(self.model, score, length, layout)

    @cached_property
    def tried(self) -> Tried:
        """How the model may be read, by trial."""
        return Tried(self.model, self.context_length)

    @property
    def trials(self) -> dict[str, object]:
        """What was tried of the model and what came of it, in words and numbers of JSON."""
        tried: dict[str, Mapping[tuple[Layout, int], object]] = {
            "shared_prompts": self._shares,
            "packed": self._packs,
        }
        named = {
            what: {f"{layout} {length}": found for (layout, length), found in each.items()}
            for what, each in tried.items()
            if each
        }
        return {**self.tried.record(), **named}

    @cached_property
    def head(self) -> Head | None:
        """The linear layer that makes logits, where it is nothing more than that."""
        return linear_head(self.model)

    @cached_property
    def regions(self) -> Regions:
        """The model's layers, compiled where that pays."""
        return Regions(self.model, self.compiled)

    @property
    def _on_gpu(self) -> bool:
        return bool(self.model.device.type == "cuda")

    @cached_property
    def _static(self) -> StaticDecoding:
        return StaticDecoding(self.model, self.end)

    @cached_property
    def _packed(self) -> PackedScoring:
        return PackedScoring(self.model, self.head, self.regions)

    @cached_property
    def _padded(self) -> PaddedScoring:
        most, pads = self.context_length, self.tried.steady
        return PaddedScoring(self.model, self.head, self.regions, most, pads)

    @torch.no_grad()
    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        """Generate greedily behind N prompts; see `Generator.decode`."""
        if not len(content):
            return []
        if isinstance(max_new_tokens, int):
            max_new_tokens = [max_new_tokens] * len(content)
        room = self.context_length - content.shape[1] - 1
        limits = [min(most, room) for most in max_new_tokens]
        fast = self._products.fast(step=False)
        with fast, self.regions.eager(), ready_attention(self.model.device):
            found = self._static.decode(content, lead, limits, layout) if self._on_gpu else None
            if found is None:
                way = self.tried.way(content.shape[1] + 1 + max(limits))
                found = decode_greedily(self.model, self.end, content, lead, limits, layout, way)
        return [self.text(ids) for ids in found]
