"""Padded scoring: a batch of lines for each length."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dcm.causal_lm.again import within
from dcm.causal_lm.calling import known
from dcm.causal_lm.head import Head
from dcm.causal_lm.last_layer import LastLayer
from dcm.causal_lm.lines import LaidOut, Lines, lay_out
from dcm.causal_lm.regions import Regions
from dcm.causal_lm.token_scores import by_strand, token_scores
from dcm.strands import Strands, StrandScores

# Below this many lines a float32 matrix product on a CPU takes another kernel, whose last bits
# differ, so a row would not score alone as it does in a batch (measured with MKL: 11 and fewer).
_LEAST_LINES = 16


class PaddedScoring:
    """Scores strands as lines of a few lengths each, see `dcm.causal_lm.lines`.

    What is computed for a line depends on that line alone, to the last bit on a CPU.

    Args:
        model: a Hugging Face causal language model.
        head: what makes its logits.
        regions: compiles its layers.
        most: the positions that it takes.
        pads: whether lines of up to so many positions may be padded.
    """

    def __init__(
        self,
        model: Any,
        head: Head | None,
        regions: Regions,
        most: int,
        pads: Callable[[int], bool],
    ) -> None:
        self._model = model
        self._head = head
        self._regions = regions
        self._most = most
        self._pads = pads
        self._layouts: WeakKeyDictionary[Strands, dict[object, LaidOut]] = WeakKeyDictionary()

    def score(
        self,
        content: Tensor,
        strands: Strands,
        *,
        shares: Callable[[int], bool] | None,
        step: bool,
    ) -> StrandScores:
        """Score J strands behind `content` [R, K, D].

        Args:
            content: [R, K, D] float32.
            strands: what is scored.
            shares: whether strands may stand behind one prompt, in lines of so many positions;
                None for always.
            step: whether it is one of many, that are worth compiling.
        """
        if step:
            self._regions.count()
        laid = self._laid_out(strands, content.shape[1], shares)
        states = [self._predicting(content, strands.lead, lines, step) for lines in laid.groups]
        count = len(laid.targets)
        copies = -(-_LEAST_LINES // count)
        predicting, targets = torch.cat(states * copies), laid.targets.repeat(copies)
        measure = partial(token_scores, predicting, targets, strands.temperature, self._head)
        tokens = self._regions.attempt(partial(measure, compiled=True), measure, step=step)
        scores = by_strand(tokens.nll[:count], tokens.margin[:count], laid.lengths)
        return StrandScores(*(each.index_select(0, laid.place) for each in scores))

    def _laid_out(
        self, strands: Strands, slots: int, shares: Callable[[int], bool] | None
    ) -> LaidOut:
        """The sequences in which strands are scored; made once, as the solver keeps its strands."""
        made = self._layouts.setdefault(strands, {})
        key = slots, shares is None
        if key not in made:
            made[key] = lay_out(
                strands,
                self._most - slots,
                shares=lambda fed: shares is None or shares(slots + fed),
                pads=lambda fed: self._pads(slots + fed),
            )
        return made[key]

    def _predicting(self, content: Tensor, lead: Tensor, lines: Lines, step: bool) -> Tensor:
        """What predicts each target token: [M, D] hidden states or, without `head`, [M, V]
        logits."""
        slots = content.shape[1]
        sequence = lines.sequence(content, lead, self._model.get_input_embeddings())
        mask, positions = lines.mask(slots, sequence.dtype), lines.positions(slots)
        count, length, _ = sequence.shape
        copies = -(-_LEAST_LINES // (count * length))
        if copies > 1:
            sequence = sequence.repeat(copies, 1, 1)
            mask = None if mask is None else mask.repeat(copies, 1, 1, 1)
            positions = None if positions is None else positions.repeat(copies, 1)
        # What predicts a target stands behind the content, or is its last slot.
        found = self._run(length - slots, sequence, mask, positions, step)
        place = lines.place if self._head is None else lines.predicting(slots)
        return found.flatten(0, 1).index_select(0, place)

    def _run(
        self,
        behind: int,
        sequence: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        step: bool,
    ) -> Tensor:
        """The last hidden states of all positions or, without `head`, the logits of the last
        `behind`."""
        given = {"attention_mask": mask, "position_ids": positions, "inputs_embeds": sequence}
        options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        options["use_cache"] = False
        # A batch of one would be compiled apart from all others.
        run = partial(self._regions.run, step=step and len(sequence) > 1)
        if self._head is not None:
            # A hook would have a compiled last layer compiled apart from the others.
            few = len(sequence) * behind < _LEAST_LINES
            spared = 0 if few or self._regions.active else sequence.shape[1] - behind
            with within(partial(self._last_layer.spared, spared)):
                base = self._model.base_model
                states: Tensor = run(partial(base, **known(base, **options))).last_hidden_state
            return states
        options = known(self._model, logits_to_keep=behind, **options)
        logits: Tensor = run(partial(self._model, **options)).logits
        # A model that does not know `logits_to_keep` gives them for all positions.
        return logits[:, -behind:]

    @cached_property
    def _last_layer(self) -> LastLayer:
        """The model's last layer, which need not do all its work for the slots."""
        return LastLayer(self._model)
