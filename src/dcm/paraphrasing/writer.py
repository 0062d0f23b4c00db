"""Writer: a language model that is asked for texts."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs

from dcm.errors import DcmError


class WriterFailed(Exception):  # noqa: N818 - one request failed, others may not
    """A request failed for good; the message says how, and holds no key."""


class WriterRefused(DcmError):  # noqa: N818 - it is told as what it is
    """The service refuses all requests: a wrong key, an unknown model."""


@attrs.frozen
class Reply:
    """What a model wrote.

    Attributes:
        text: the text.
        input_tokens: tokens of the prompt as the service counts them; None where it does not say.
        output_tokens: tokens of the text likewise.
    """

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class Writer(ABC):
    """A language model that is asked for texts."""

    @abstractmethod
    async def write(self, system: str, user: str) -> Reply:
        """The reply to one prompt; a reply that cannot be read is an empty text.

        Raises:
            WriterFailed: this request failed, and again when it was repeated.
            WriterRefused: so will all others.
        """

    async def close(self) -> None:  # noqa: B027 - many have nothing to close
        """Let go of connections."""


def without(key: str | None, text: str) -> str:
    """A text in which the key, should anyone have repeated it, is blotted out."""
    return text.replace(key, "***") if key else text
