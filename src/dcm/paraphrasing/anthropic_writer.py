"""Models behind Anthropic's API, through its own client."""

from __future__ import annotations

from typing import Any

from dcm.errors import UsageError
from dcm.paraphrasing.writer import Reply, Writer, WriterFailed, WriterRefused, without


class AnthropicWriter(Writer):
    """Asks for messages. See `dcm.paraphrasing.open_writer` for the arguments."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        key: str | None,
        max_tokens: int,
        timeout: float,
        retries: int,
    ) -> None:
        try:
            import anthropic
        except ImportError as error:
            do = "pip install 'dynamic-context-memory[paraphrase]'"
            raise UsageError("the client 'anthropic' is not installed", "", do) from error
        self._errors = anthropic
        self._key = key
        self._asked = {"model": model, "max_tokens": max_tokens}
        self._endpoint = endpoint
        # With a key given it looks for no other credentials, in the environment or on disk.
        self._client = anthropic.AsyncAnthropic(
            base_url=endpoint, api_key=key or "none", timeout=timeout, max_retries=retries
        )

    async def write(self, system: str, user: str) -> Reply:
        errors = self._errors
        messages: Any = [{"role": "user", "content": user}]
        create: Any = self._client.messages.create
        try:
            found = await create(system=system, messages=messages, **self._asked)
        except (
            errors.AuthenticationError,
            errors.PermissionDeniedError,
            errors.NotFoundError,
        ) as error:
            asked = f"{self._endpoint} refuses the request"
            there = without(self._key, f"It says: {error}")
            raise WriterRefused(asked, there, "Check the key and the model's name") from None
        except errors.APIResponseValidationError:
            return Reply("")
        except errors.APIError as error:
            raise WriterFailed(without(self._key, f"{type(error).__name__}: {error}")) from None
        except ValueError:  # its body is no JSON
            return Reply("")
        return self._reply(found)

    def _reply(self, found: Any) -> Reply:
        try:
            text = "".join(each.text for each in found.content if each.type == "text")
        except (AttributeError, TypeError):
            return Reply("")
        usage = getattr(found, "usage", None)
        counts = (getattr(usage, f"{part}_tokens", None) for part in ("input", "output"))
        return Reply(without(self._key, text), *counts)

    async def close(self) -> None:
        await self._client.close()
