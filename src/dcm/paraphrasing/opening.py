"""open_writer: which client asks which model, and which key goes with it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from dcm.errors import UsageError
from dcm.paraphrasing.writer import Writer

CLIENTS = ("openai", "anthropic", "local")
# Where a service's own key may go without being named.
_OWN_KEYS = {"api.openai.com": "OPENAI_API_KEY", "api.anthropic.com": "ANTHROPIC_API_KEY"}


def open_writer(
    client: str,
    model: str,
    *,
    endpoint: str | None = None,
    key_variable: str | None = None,
    temperature: float = 1.0,
    max_tokens: int = 1024,
    timeout: float = 120.0,
    retries: int = 6,
    batch: int = 8,
) -> Writer:
    """A writer. Nothing is sent, and nothing looked up, before it is asked.

    Args:
        client: `openai` for any OpenAI-compatible endpoint, `anthropic` for Anthropic's, `local`
            for a Hugging Face model in this process.
        model: the model's name at the endpoint; for `local` a folder or a name on the hub.
        endpoint: the base address; none for `local`.
        key_variable: the environment variable that holds the key. Without it OPENAI_API_KEY goes
            to https://api.openai.com, ANTHROPIC_API_KEY to https://api.anthropic.com, and no key
            anywhere else.
        temperature: of sampling; Anthropic's API has none.
        max_tokens: most tokens of a reply.
        timeout: seconds to wait for a reply.
        retries: how often a request is repeated, with growing pauses, after a time-out, a lost
            connection, or an answer 408, 409, 429 or 5xx.
        batch: how many requests a `local` model answers at once.

    Raises:
        UsageError: the endpoint is missing or no plain address, or the variable is not set.
    """
    if client not in CLIENTS:
        raise UsageError(f"there is no client {client!r}", "", f"Use one of {', '.join(CLIENTS)}")
    if client == "local":
        if endpoint or key_variable:
            asked = "the client 'local' was given an endpoint or a key"
            raise UsageError(asked, "It runs the model in this process", "Leave them out")
        from dcm.paraphrasing.local_writer import LocalWriter

        return LocalWriter(model, temperature, max_tokens, batch)
    if not endpoint:
        do = "Name it, such as --endpoint http://localhost:8000/v1"
        raise UsageError(f"the client {client!r} needs an endpoint", "Nothing was sent", do)
    key = _key(endpoint, key_variable)
    if client == "openai":
        from dcm.paraphrasing.openai_writer import OpenAIWriter

        return OpenAIWriter(endpoint, model, key, temperature, max_tokens, timeout, retries)
    from dcm.paraphrasing.anthropic_writer import AnthropicWriter

    return AnthropicWriter(endpoint, model, key, max_tokens, timeout, retries)


def _key(endpoint: str, variable: str | None) -> str | None:
    """The key that goes to an endpoint."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("the endpoint is no address", "", "Write it https://host/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It is not shown: what is in it may be a secret.
        asked = "the endpoint has a user, a query or a fragment"
        do = "Give a plain address, and the key by an environment variable: --key-variable NAME"
        raise UsageError(asked, "", do)
    own = _OWN_KEYS.get(parts.hostname) if parts.scheme == "https" else None
    name = variable or own
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        there = f"The environment variable {name} is not set"
        raise UsageError("there is no key for the endpoint", there, f"Set {name}")
    return key
