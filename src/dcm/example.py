"""Example: one task item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

Variants: TypeAlias = Mapping[str, tuple[str, ...]]
"""mode -> other wordings of the text that is generated under it."""


def _text(instance: Example, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} must be text with more than white space, not {value!r}")
    value.encode()  # half a surrogate pair, which JSON can write, is no text


def _tuple(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _by_mode(values: Variants | Iterable[str]) -> dict[str, tuple[str, ...]]:
    given = values if isinstance(values, Mapping) else {"question": values}
    found = {mode: tuple(texts) for mode, texts in given.items()}
    return {mode: texts for mode, texts in sorted(found.items()) if texts}


def _texts(instance: Example, attribute: attrs.Attribute[Variants], value: Variants) -> None:
    for mode, texts in value.items():
        if not all(isinstance(text, str) and text.strip() and text.encode() for text in texts):
            raise ValueError(f"variants of the {mode} must be texts, not {list(texts)!r}")


@attrs.frozen
class Example:
    """One task item: a question and its answer.

    Attributes:
        id: stable, unique within its data set; results are stored and resumed by it.
        question: text to generate under the mode `question`.
        answer: text to generate under the mode `answer`.
        aliases: other texts that graders accept as the answer.
        variants: mode -> paraphrases of what is generated under it, for objectives that use them.
            Given as a list they are the question's. A mode without any is left out.
        context: a passage the answer can be read from, if the data set has one.
        metadata: whatever else the record says, as JSON values.

    Raises:
        ValueError: id, question or answer is empty or no text, or cannot be written as UTF-8; or
            a variant is empty or no text.
    """

    id: str = attrs.field(validator=_text)
    question: str = attrs.field(validator=_text)
    answer: str = attrs.field(validator=_text)
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    variants: Variants = attrs.field(factory=dict, converter=_by_mode, validator=_texts)
    context: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
