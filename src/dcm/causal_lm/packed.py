"""Packed scoring: one pass of the model over all strands of all rows."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dcm.causal_lm.again import within
from dcm.causal_lm.attention import PackedAttention
from dcm.causal_lm.devices import spread
from dcm.causal_lm.head import Head
from dcm.causal_lm.packing import FILLER, Packing, Sizes, pack, packed_numbers, packed_sequence
from dcm.causal_lm.positions import stated_context
from dcm.causal_lm.recording import Found, Recordings
from dcm.causal_lm.regions import Regions
from dcm.causal_lm.token_scores import by_strand, token_scores
from dcm.strands import Strands, StrandScores


class PackedScoring:
    """Scores strands as one sequence of texts, see `dcm.causal_lm.packing`.

    A step is one pass of the model, whatever the strands' lengths, so that a GPU is told once what
    to do, and computes no padding.

    Args:
        model: a Hugging Face causal language model.
        head: what makes its logits.
        regions: compiles its layers.
    """

    def __init__(self, model: Any, head: Head | None, regions: Regions) -> None:
        self._model = model
        self._head = head
        self._regions = regions
        self._attention = PackedAttention(model)
        self._recordings = Recordings(model.device)
        if spread(model):
            self._recordings.limit = 0
        self._context = stated_context(model) or FILLER
        self._packings: WeakKeyDictionary[Strands, dict[tuple[int, bool], Packing]] = (
            WeakKeyDictionary()
        )

    def score(self, content: Tensor, strands: Strands, *, shares: bool, step: bool) -> StrandScores:
        """Score J strands behind `content` [R, K, D].

        Args:
            content: [R, K, D] float32.
            strands: what is scored.
            shares: whether strands with one prompt stand behind one copy of it.
            step: whether it is one of many, that are worth preparing: compiled, recorded.
        """
        if step and self._regions.count():
            self._recordings.forget()
        packing = self._packed(strands, content.shape[1], shares, step)
        sizes = packing.sizes
        lead = strands.lead.index_select(0, packing.lead_strand)
        if sizes.rows > len(content):
            padding = content.new_zeros(sizes.rows - len(content), *content.shape[1:])
            content = torch.cat([content, padding])
        function = partial(self._pass, sizes, strands.temperature, step)
        kind = sizes, strands.temperature, self._regions.active
        if step:
            given = content, lead, packing.numbers
            nll, margin = self._recordings.run(
                function, kind, sizes.positions, *given, recurs=packing.recurs
            )
        else:
            nll, margin = function(content, lead, packing.numbers)
        count = packing.tokens
        return by_strand(nll[:count], margin[:count], packing.lengths)

    def _packed(self, strands: Strands, slots: int, shares: bool, step: bool) -> Packing:
        """How the strands are packed; made once, as the solver keeps its strands."""
        made = self._packings.setdefault(strands, {})
        rounds = self._recordings.rounds if step else 0
        if (slots, shares) not in made:
            made[slots, shares] = pack(
                strands, slots, shares=shares, rounds=rounds, context=self._context
            )
        return made[slots, shares]

    def _pass(
        self,
        sizes: Sizes,
        temperature: float,
        step: bool,
        content: Tensor,
        lead: Tensor,
        numbers: Tensor,
    ) -> Found:
        """nll [M] and margin [M] of all target tokens."""
        packed = packed_numbers(sizes, numbers)
        model = self._model
        sequence = packed_sequence(packed, content, lead, model.get_input_embeddings())
        options: dict[str, Any] = {
            "inputs_embeds": sequence,
            "position_ids": packed.places[None],
            "use_cache": False,
            "cu_seq_lens_q": packed.starts_q.int(),
            "cu_seq_lens_k": packed.starts_k.int(),
            "max_length_q": sizes.longest,
            "max_length_k": sizes.longest,
        }
        if sizes.keys:
            options["packed_keys"] = packed.keys
        with within(self._attention.on):
            if self._head is None:
                call = partial(model, logits_to_keep=packed.predicting, **options)
                found = self._regions.run(call, step=step).logits[0]
            else:
                call = partial(model.base_model, **options)
                states = self._regions.run(call, step=step).last_hidden_state[0]
                found = states.index_select(0, packed.predicting)
        measure = partial(token_scores, found, packed.targets, temperature, self._head)
        tokens = self._regions.attempt(partial(measure, compiled=True), measure, step=step)
        return tokens.nll, tokens.margin
