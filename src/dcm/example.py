"""Example: one task item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs


def _text(instance: Example, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} must be text with more than white space, not {value!r}")
    value.encode()  # half a surrogate pair, which JSON can write, is no text


def _tuple(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen
class Example:
    """One task item: a question and its answer.

    Attributes:
        id: stable, unique within its data set; results are stored and resumed by it.
        question: text to generate under the mode `question`.
        answer: text to generate under the mode `answer`.
        aliases: other texts that graders accept as the answer.
        variants: paraphrases of the question, for objectives that use them.
        context: a passage the answer can be read from, if the data set has one.
        metadata: whatever else the record says, as JSON values.

    Raises:
        ValueError: id, question or answer is empty or no text, or cannot be written as UTF-8.
    """

    id: str = attrs.field(validator=_text)
    question: str = attrs.field(validator=_text)
    answer: str = attrs.field(validator=_text)
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    variants: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    context: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
