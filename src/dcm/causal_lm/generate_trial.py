"""A trial of `generate`: whether it writes behind vectors what the model chooses behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dcm.causal_lm.rounding import Rounding, rounded_again
from dcm.causal_lm.trials import last_logits, some_ids
from dcm.memory_limit import is_out_of_memory

# Roundings that say how far from the first a choice may be. One alone seldom turns the router that
# another kernel turns.
_ROUNDINGS = 8


def generates_alike(model: Any, length: int, *, texts: int, tokens: int) -> bool | None:
    """Whether `model.generate` writes behind vectors what the model chooses behind them.

    Some begin to count positions elsewhere there, or choose other keys from a cache. A choice is
    right if it is the first one but for rounding: in few bits two may be as good, and through
    routers of experts more than two. None where there is nothing to compare: no `generate`, or
    none that takes vectors.

    Args:
        model: a Hugging Face causal language model.
        length: positions at the end of each text.
        texts: how many, each by itself: batches are what some cannot.
        tokens: of each.
    """
    count = min(tokens, max(1, length // 2))
    embedding = model.get_input_embeddings()
    few = max(0.02, 4 * Rounding.of(model.dtype).decoding)
    for place in range(texts):
        embedded = embedding(some_ids(model, length - count, place))[None]
        try:
            with _plain_generation(model):
                found = model.generate(
                    inputs_embeds=embedded.clone(),
                    attention_mask=torch.ones_like(embedded[..., 0], dtype=torch.int64),
                    max_new_tokens=count,
                    do_sample=False,
                )
        except Exception as error:  # whatever a model's own code raises
            if is_out_of_memory(error):
                raise
            return None
        whole = torch.cat([embedded, embedding(found.to(embedded.device))], 1)

        def read(whole: Tensor = whole) -> Tensor:
            return last_logits(model, count + 1, inputs_embeds=whole)[:, :-1].float()

        logits = read()
        worse = _worse(logits, found.to(logits.device))
        if float(worse.max()) <= few:
            continue
        # Where routers turn with a rounding, other kernels may choose what is far from the first.
        with rounded_again(model):
            rounded = torch.cat([_worse(logits, read().argmax(2)) for _ in range(_ROUNDINGS)])
        if not float(worse.max()) <= few + 2 * float(rounded.max()):
            return False
    return True


def _worse(logits: Tensor, chosen: Tensor) -> Tensor:
    """[B, T] how far chosen tokens [B, T] are below the best, in standard deviations of logits."""
    own = logits.gather(2, chosen[..., None])[..., 0]
    return (logits.amax(2) - own) / logits.std(2)


@contextmanager
def _plain_generation(model: Any) -> Iterator[None]:
    """Within it `generate` has no settings of the model's own: penalties, say, or an end."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    own, verbosity = model.generation_config, logging.get_verbosity()
    model.generation_config = GenerationConfig()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        model.generation_config = own
        logging.set_verbosity(verbosity)
