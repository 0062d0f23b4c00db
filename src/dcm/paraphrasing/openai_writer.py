"""Models behind any OpenAI-compatible endpoint, through the official client."""

from __future__ import annotations

from typing import Any

from dcm.errors import UsageError
from dcm.paraphrasing.writer import Reply, Writer, WriterFailed, WriterRefused, without


class OpenAIWriter(Writer):
    """Asks for chat completions. See `dcm.paraphrasing.open_writer` for the arguments."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        key: str | None,
        temperature: float,
        max_tokens: int,
        timeout: float,
        retries: int,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            do = "pip install 'dynamic-context-memory[paraphrase]'"
            raise UsageError("the client 'openai' is not installed", "", do) from error
        self._errors = openai
        self._key = key
        self._asked = {
            "model": model,
            "temperature": temperature,
            "max_completion_tokens": max_tokens,
        }
        self._endpoint = endpoint
        # The client insists on a key; without one a placeholder is sent.
        self._client = openai.AsyncOpenAI(
            base_url=endpoint,
            api_key=key or "none",
            timeout=timeout,
            max_retries=retries,
        )
        if key is None:
            # Taken from the environment, and none of the endpoint's business.
            self._client.organization = self._client.project = None

    async def write(self, system: str, user: str) -> Reply:
        errors = self._errors
        messages: Any = [
            {"role": "system", "content": system},
            {"role": "user", "content": user},
        ]
        create: Any = self._client.chat.completions.create
        try:
            found = await create(messages=messages, **self._asked)
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
            text = found.choices[0].message.content or ""
        except (AttributeError, IndexError, TypeError):
            return Reply("")
        usage = getattr(found, "usage", None)
        counts = (getattr(usage, f"{part}_tokens", None) for part in ("prompt", "completion"))
        return Reply(without(self._key, str(text)), *counts)

    async def close(self) -> None:
        await self._client.close()
