"""Positions: how many a model has."""

from __future__ import annotations

from typing import Any

import torch

# What configurations call it, those that transformers does not already translate.
_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "n_positions", "n_ctx")


def stated_context(model: Any) -> int | None:
    """Most positions that a model takes; None where its configuration states none."""
    config = model.config.get_text_config()
    for name in _NAMES:
        stated = getattr(config, name, None)
        if isinstance(stated, int) and stated > 0:
            return stated - _before_the_first(model, stated)
    return None


def _before_the_first(model: Any, stated: int) -> int:
    """How many rows of the table of positions come before that of the first position.

    RoBERTa's kin count from the padding's number on, whose row is no position's.
    """
    tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    for table in tables:
        if table is not model.get_input_embeddings() and table.num_embeddings == stated:
            return 0 if table.padding_idx is None else table.padding_idx + 1
    return 0
