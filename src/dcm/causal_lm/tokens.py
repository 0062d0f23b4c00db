"""Tokens: texts as a tokenizer writes them, and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dcm.errors import GeneratorError

# A vocabulary of so many words has some of the words of an English sentence.
_LARGE = 10_000
_SENTENCE = "The president of the United States gave a speech about the weather in Europe."


def check_tokenizer(tokenizer: Any, model: Any, asked: str) -> None:
    """Refuse a tokenizer that cannot serve a model, and warn of one that seems to be broken.

    Args:
        tokenizer: what is asked of.
        model: the model it came with.
        asked: what was asked for, for the error.

    Raises:
        GeneratorError: it has no words, no end, or tokens that the model has no embedding of.
    """
    special = set(tokenizer.all_special_ids)
    # Without its files, some tokenizer classes make one with an empty vocabulary.
    words = {word: id for word, id in tokenizer.get_vocab().items() if id not in special}
    if not words:
        raise GeneratorError(asked, "It has no tokenizer", "Give the folder its tokenizer.json")
    if tokenizer.eos_token_id is None:
        raise GeneratorError(asked, "Its tokenizer has no end-of-text token", "Set eos_token")
    rows = int(model.get_input_embeddings().weight.shape[0])
    if tokenizer.eos_token_id >= rows:
        end = f"{tokenizer.eos_token!r}, number {tokenizer.eos_token_id}"
        there = (
            f"Its tokenizer's end-of-text token is {end}, and it has embeddings of {rows} tokens"
        )
        raise GeneratorError(asked, there, "Give the model its own tokenizer, or set eos_token")
    # Special ones may lie beyond, of images, say: no text is written with them.
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    special |= {id for id, token in added.items() if getattr(token, "special", False)}
    beyond = {id: word for word, id in words.items() if id >= rows and id not in special}
    if beyond:
        there = f"Its tokenizer has {len(beyond)} tokens beyond its embeddings of {rows}"
        there += f", up to {beyond[max(beyond)]!r}, number {max(beyond)}"
        raise GeneratorError(asked, there, "Give the model its own tokenizer")
    letters = len(_SENTENCE.replace(" ", ""))
    if len(words) >= _LARGE and len(encode(tokenizer, _SENTENCE)) > letters:
        warnings.warn(
            f"The tokenizer has {len(words):,} words and writes an English sentence letter by "
            "letter, which takes several times the tokens: it may have lost how words are put "
            "together, as where a GGUF file was converted. Give the model its tokenizer.json",
            stacklevel=3,
        )
    ends = _ends(tokenizer, model)
    if ends and tokenizer.eos_token_id not in ends:
        warnings.warn(
            f"The tokenizer ends texts by {tokenizer.eos_token!r}, the model by "
            f"{' or '.join(map(repr, ends.values()))}: an end that it does not expect takes more "
            "steps to generate. Set eos_token in tokenizer_config.json",
            stacklevel=3,
        )


def take_models_end(tokenizer: Any, model: Any) -> None:
    """Let a tokenizer end texts as its model does, where it does not.

    Of a GGUF file both are made by a converter, and transformers 5.17 gave SmolLM2's tokenizer the
    token that begins a turn.
    """
    ends = _ends(tokenizer, model)
    if ends and tokenizer.eos_token_id not in ends:
        tokenizer.eos_token = next(iter(ends.values()))


def _ends(tokenizer: Any, model: Any) -> dict[int, str]:
    """The tokens by which a model ends a text, as far as it says so and the tokenizer has them."""
    found: dict[int, str] = {}
    for told in (getattr(model, name, None) for name in ("config", "generation_config")):
        ids: Any = getattr(told, "eos_token_id", None)
        for id_ in ids if isinstance(ids, list | tuple) else () if ids is None else (ids,):
            token = tokenizer.convert_ids_to_tokens(int(id_))
            if token is not None:
                found[int(id_)] = token
    return found


def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of `text`, closed by the end-of-text token."""
    # A text may hold the spelling of a special token; only the closing one ends it.
    options = {"add_special_tokens": False, "verbose": False}
    try:
        ids = tokenizer(text, split_special_tokens=True, **options).input_ids
    except (TypeError, ValueError):
        # mistral-common's, for one, never takes text for special tokens, and refuses to be told.
        # Where that is not so the text shows it: it is not what the tokens are read back as.
        ids = tokenizer(text, **options).input_ids
    return (*map(int, ids), int(tokenizer.eos_token_id))


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, up to and without the first end-of-text token."""
    kept = list(ids)
    if tokenizer.eos_token_id in kept:
        kept = kept[: kept.index(tokenizer.eos_token_id)]
    return str(tokenizer.decode(kept, clean_up_tokenization_spaces=False))
