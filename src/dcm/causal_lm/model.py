"""CausalLM: any Hugging Face causal language model, frozen, behind continuous vectors."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor

from dcm.causal_lm.attention import ready_attention
from dcm.causal_lm.decoding import decode_greedily
from dcm.causal_lm.graphs import Graphs
from dcm.causal_lm.last_layer import LastLayer
from dcm.causal_lm.lines import LaidOut, Lines, lay_out
from dcm.causal_lm.products import Compute, Products
from dcm.causal_lm.regions import Regions
from dcm.causal_lm.token_scores import token_scores
from dcm.errors import GeneratorError
from dcm.strands import Layout, Strands, StrandScores

# Below this many lines a float32 matrix product on a CPU takes another kernel, whose last bits
# differ, so a row would not score alone as it does in a batch (measured with MKL: 11 and fewer).
_LEAST_LINES = 16

_NO_LIMIT = 1 << 30


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
    """

    model: Any
    tokenizer: Any
    compiled: bool | None = None
    compute: Compute | None = None
    _products: Products = attrs.field(init=False)
    _layouts: WeakKeyDictionary[Strands, dict[tuple[int, bool], LaidOut]] = attrs.field(
        factory=WeakKeyDictionary, init=False
    )

    @_products.default
    def _(self) -> Products:
        return Products(self.model, self.compute)

    @classmethod
    def load(
        cls, name: str, *, dtype: str, device: str, local: bool, trust_remote_code: bool = False
    ) -> CausalLM:
        """Load a model from a folder or, where `local` is false, from the Hugging Face hub.

        Args:
            name: folder, or name on the hub.
            dtype: name of a torch dtype.
            device: a torch device, or "auto" for a GPU if there is one.
            local: never use a network.
            trust_remote_code: run code that comes with the model.

        Raises:
            GeneratorError: there is no complete model at `name`.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        asked = f"the model {name!r} cannot be loaded"
        if local and not Path(name).is_dir():
            raise GeneratorError(asked, "There is no such folder", "Check the path")
        bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
        try:
            model, report = AutoModelForCausalLM.from_pretrained(
                name, dtype=getattr(torch, dtype), output_loading_info=True, **options
            )
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
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
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
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
        with ready_attention(self.model.device):
            return self._score(content, strands, shares=self.shares_prompts)

    def _score(self, content: Tensor, strands: Strands, *, shares: bool) -> StrandScores:
        if not len(strands):
            nothing = torch.zeros(0, device=content.device)
            return StrandScores(nothing, nothing > 0, nothing)
        most = self.context_length - content.shape[1]
        laid = self._laid_out(strands, most, shares=shares)
        with self._products.fast(step=content.requires_grad and torch.is_grad_enabled()):
            states = [self._predicting(content, strands.lead, lines) for lines in laid.groups]
        count = len(laid.targets)
        copies = -(-_LEAST_LINES // count)
        predicting, targets = torch.cat(states * copies), laid.targets.repeat(copies)
        measure = partial(token_scores, predicting, targets, strands.temperature, self.head)
        tokens = self.regions.attempt(
            partial(measure, compiled=True), measure, step=predicting.requires_grad
        )
        # Each strand's own tokens are reduced by themselves, in their order. Whether the lengths
        # are right it could only tell by waiting for a GPU.
        reduce = partial(torch.segment_reduce, lengths=laid.lengths, unsafe=True)
        nll = reduce(tokens.nll[:count], "sum") / laid.lengths
        margin = reduce(tokens.margin[:count], "min").index_select(0, laid.place)
        return StrandScores(nll.index_select(0, laid.place), margin > 0, margin)

    def _laid_out(self, strands: Strands, most: int, *, shares: bool) -> LaidOut:
        """The sequences in which strands are scored; made once, as the solver keeps its strands."""
        made = self._layouts.setdefault(strands, {})
        if (most, shares) not in made:
            made[most, shares] = lay_out(strands, most, shares=shares, coarse=self.regions.waits)
        return made[most, shares]

    def _predicting(self, content: Tensor, lead: Tensor, lines: Lines) -> Tensor:
        """What predicts each target token: [M, D] hidden states or, without `head`, [M, V]
        logits."""
        slots = content.shape[1]
        sequence = lines.sequence(content, lead, self.model.get_input_embeddings())
        mask, positions = lines.mask(slots, sequence.dtype), lines.positions(slots)
        count, length, _ = sequence.shape
        copies = -(-_LEAST_LINES // (count * length))
        if copies > 1:
            sequence = sequence.repeat(copies, 1, 1)
            mask = None if mask is None else mask.repeat(copies, 1, 1, 1)
            positions = None if positions is None else positions.repeat(copies, 1)
        # What predicts a target stands behind the content, or is its last slot.
        behind = length - slots
        found = self.graphs.run(partial(self._run, behind), behind, sequence, mask, positions)
        place = lines.place if self.head is None else lines.predicting(slots)
        return found.flatten(0, 1).index_select(0, place)

    def _run(
        self, behind: int, sequence: Tensor, mask: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        """The last hidden states of all positions or, without `head`, the logits of the last
        `behind`."""
        given = {"attention_mask": mask, "position_ids": positions}
        options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        options["use_cache"] = False
        if self.head is not None:
            base = partial(self.model.base_model, **options)
            # A hook would have a compiled last layer compiled apart from the others.
            few = len(sequence) * behind < _LEAST_LINES
            spared = 0 if few or self.regions.active else sequence.shape[1] - behind
            with self.last_layer.spared(spared):
                states: Tensor = self.regions.run(base, sequence).last_hidden_state
            return states
        model = partial(self.model, logits_to_keep=behind, **options)
        logits: Tensor = self.regions.run(model, sequence).logits
        # A model that does not know `logits_to_keep` gives them for all positions.
        return logits[:, -behind:]

    @cached_property
    @torch.no_grad()
    def head(self) -> tuple[Tensor, Tensor | None] | None:
        """Weight and bias of the linear layer that makes logits from the last hidden states.

        None where the model does more than that (scales or caps its logits, say), which shows
        when it is tried.
        """
        head, base = self.model.get_output_embeddings(), self.model.base_model
        if type(head) is not torch.nn.Linear or base is self.model:
            return None
        embedded = self.model.get_input_embeddings()(torch.arange(8, device=self.model.device))
        try:
            states = base(inputs_embeds=embedded[None], use_cache=False).last_hidden_state
            logits = self.model(inputs_embeds=embedded[None], use_cache=False).logits
            if not torch.equal(head(states).float(), logits.float()):
                return None
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return None
        return head.weight, head.bias

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether strands can stand behind one prompt: the model takes positions and a mask.

        Windows and chunks of attention are masks of the model's own, which a mask from outside
        replaces. Layers that are no attention carry one strand over to the next, which no mask
        stops; some models take positions and count for themselves. Both show when it is tried.
        """
        known = inspect.signature(self.model.forward).parameters
        config = self.model.config.get_text_config()
        windows = ("sliding_window", "attention_window_size", "attention_chunk_size")
        if not {"position_ids", "attention_mask"} <= set(known):
            return False
        if any(getattr(config, window, None) for window in windows):
            return False
        return self._shares_truly()

    @torch.no_grad()
    def _shares_truly(self) -> bool:
        """Whether strands behind one prompt score as they do alone, and none sees another."""
        embedded = self.embed(torch.arange(8, device=self.model.device))
        content, lead = embedded[None, :2], embedded[2:4]

        def strands(first: int) -> Strands:
            ids = [tuple(range(first, first + 8)), (5, 3, 1, 4)]
            row = torch.zeros(2, dtype=torch.int64, device=content.device)
            return Strands(row, lead, ids, torch.ones(2, device=content.device), 1, "suffix")

        try:
            one, other = (self._score(content, strands(first), shares=True) for first in (0, 8))
        except (RuntimeError, TypeError, ValueError):
            return False
        alone = self._score(content, strands(0), shares=False)
        near = torch.allclose(one.nll, alone.nll, rtol=0.05)
        return near and bool(one.nll[1] == other.nll[1])

    @cached_property
    def regions(self) -> Regions:
        """The model's layers, compiled where that pays."""
        return Regions(self.model, self.compiled)

    @cached_property
    def graphs(self) -> Graphs:
        """The model's steps, launched at once where launching takes the time."""
        active = self.regions.waits and not self.regions.active
        return Graphs(self.model.device, active=active)

    @cached_property
    def last_layer(self) -> LastLayer:
        """The model's last layer, which need not do all its work for the slots."""
        return LastLayer(self.model)

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
            found = decode_greedily(self.model, self.end, content, lead, limits, layout)
        return [self.text(ids) for ids in found]
