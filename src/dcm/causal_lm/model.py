"""CausalLM: any Hugging Face causal language model, frozen, behind continuous vectors."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.attention import ready_attention
from dcm.causal_lm.decoding import decode_greedily
from dcm.causal_lm.gguf import gguf_options
from dcm.causal_lm.head import Head, linear_head
from dcm.causal_lm.packed import PackedScoring
from dcm.causal_lm.packed_checkpoint import packed_model
from dcm.causal_lm.padded import PaddedScoring
from dcm.causal_lm.products import Compute, Products
from dcm.causal_lm.quantised import Quantize, check_quantize, choose_experts, quantise
from dcm.causal_lm.regions import Regions
from dcm.causal_lm.static_decoding import StaticDecoding
from dcm.causal_lm.trials import Score, scores_as_alone
from dcm.errors import GeneratorError
from dcm.strands import Layout, Strands, StrandScores

_NO_LIMIT = 1 << 30

# Texts whose token ids are kept.
_MOST_ENCODED = 1 << 14

# The least length at which is tried what may be done with a model.
_LEAST_TRIAL = 64


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
    def load(  # noqa: PLR0912
        cls,
        name: str,
        *,
        dtype: str,
        device: str,
        local: bool,
        trust_remote_code: bool = False,
        gguf_file: str | None = None,
        quantize: Quantize | None = None,
        experts_implementation: str | None = None,
    ) -> CausalLM:
        """Load a model from a folder or, where `local` is false, from the Hugging Face hub.

        Args:
            name: folder, or name on the hub.
            dtype: name of a torch dtype.
            device: a torch device, or "auto" for a GPU if there is one.
            local: never use a network.
            trust_remote_code: run code that comes with the model.
            gguf_file: a GGUF file in it that holds weights, config and tokenizer.
            quantize: in what its layers' weights are kept, see `dcm.causal_lm.quantised`.
            experts_implementation: how experts multiply, as transformers has it.

        Raises:
            GeneratorError: there is no complete model at `name`.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        asked = f"the model {name!r} cannot be loaded"
        if local and not Path(name).is_dir():
            raise GeneratorError(asked, "There is no such folder", "Check the path")
        options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
        if quantize is not None:
            check_quantize(quantize)
        if gguf_file is not None:
            options |= gguf_options(name, gguf_file, local=local)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        number = getattr(torch, dtype)
        try:
            packed = None if gguf_file else packed_model(name, number, device, options)
            if packed is not None:
                model, report = packed, {"missing_keys": ()}
            else:
                with redirect_stderr(io.StringIO()):  # a bar that no option hides
                    model, report = AutoModelForCausalLM.from_pretrained(
                        name, dtype=number, output_loading_info=True, **options
                    )
            options.pop("quantization_config", None)
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
        except GeneratorError:
            raise
        except Exception as error:  # the library raises many kinds
            there = " ".join(str(error).split()) or type(error).__name__
            do = "Give a folder with config.json, weights and tokenizer, or a name on the hub"
            raise GeneratorError(asked, there, do) from error
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
        if report["missing_keys"]:
            missing = ", ".join(sorted(report["missing_keys"])[:3])
            there = f"Its weights lack {len(report['missing_keys'])} tensors ({missing}, ...)"
            raise GeneratorError(asked, there, "Give a complete model")
        # Without its files, some tokenizer classes make one with an empty vocabulary.
        if not set(tokenizer("text", add_special_tokens=False).input_ids) - {
            tokenizer.unk_token_id
        }:
            raise GeneratorError(asked, "It has no tokenizer", "Give the folder its tokenizer.json")
        if tokenizer.eos_token_id is None:
            raise GeneratorError(asked, "Its tokenizer has no end-of-text token", "Set eos_token")
        if experts_implementation is not None:
            choose_experts(model, experts_implementation)
        if quantize is not None and packed is None:
            quantise(model, quantize, device)
        return cls(model.to(device).eval().requires_grad_(requires_grad=False), tokenizer)

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

    @property
    def context_length(self) -> int:
        """Most positions that the model takes."""
        config = self.model.config.get_text_config()
        # A model that states no limit (Bloom, for one) takes what memory holds.
        return int(getattr(config, "max_position_embeddings", None) or _NO_LIMIT)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, closed by the end-of-text token."""
        # A run asks for each text several times: to look at it, to optimise, to certify.
        found = self._encoded.get(text)
        if found is None:
            if len(self._encoded) >= _MOST_ENCODED:
                self._encoded.clear()
            found = self._encoded[text] = self._encode(text)
        return found

    def _encode(self, text: str) -> tuple[int, ...]:
        # A text may hold the spelling of a special token; only the closing one ends it.
        ids = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        return (*ids, self.end)

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids, up to and without the first end-of-text token."""
        kept = list(ids)
        if self.end in kept:
            kept = kept[: kept.index(self.end)]
        text = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        return str(text)

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
        with ready_attention(self.model.device), self._products.fast(step=step):
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
        length = self._trial_length(length)
        if (layout, length) not in self._packs:
            self._packs[layout, length] = None
            for way in ("shared", "alone"):
                score = partial(self._packed.score, shares=way == "shared", step=False)
                if self._as_alone(score, length, layout):
                    self._packs[layout, length] = way
                    break
        return self._packs[layout, length]

    def shares_prompts(self, layout: Layout, length: int) -> bool:
        """Whether strands can stand behind one prompt, in padded lines of up to `length` positions.

        Tried, see `dcm.causal_lm.trials`: windows and chunks of attention are masks of the model's
        own, which a mask from outside replaces, layers that are no attention carry one strand over
        to the next, and some models take positions and count for themselves.
        """
        length = self._trial_length(length)
        if (layout, length) not in self._shares:
            score = partial(self._padded.score, shares=None, step=False)
            self._shares[layout, length] = self._as_alone(score, length, layout)
        return self._shares[layout, length]

    def _trial_length(self, length: int) -> int:
        """The power of two up to which something is tried.

        Below the least one all are alike; a function of the line's own length alone, as is then
        what is computed for it.
        """
        return min(max(_LEAST_TRIAL, 1 << (length - 1).bit_length()), self.context_length)

    def _as_alone(self, score: Score, length: int, layout: Layout) -> bool:
        with self._products.plain(), self.regions.eager(), ready_attention(self.model.device):
            return scores_as_alone(self.model, score, length, layout)

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
        return PaddedScoring(self.model, self.head, self.regions, self.context_length)

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
                found = decode_greedily(self.model, self.end, content, lead, limits, layout)
        return [self.text(ids) for ids in found]
