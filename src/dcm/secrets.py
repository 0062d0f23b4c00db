"""mask_secrets: hides passwords and tokens in whatever is shown or written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar, cast

T = TypeVar("T")

HIDDEN = "***"

# user:password@ of an address, up to the last @ of the word, since a password may hold one.
_BEFORE_HOST = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*:/*[^\s:/@'\"]*):[^\s'\"]+@")
# user:password of an address without a host; digits alone are a port.
_WITHOUT_HOST = re.compile(
    r"\b([a-zA-Z][a-zA-Z0-9+.-]*:/{1,2}[^\s:/@'\"]+):(?!\d{1,5}(?:[/?#\s'\",;:)\]]|\.?$|\. ))"
    r"[^\s/@'\"*]+"
)
_NAMED = re.compile(
    r"(?i)([?&;\s\"']|^)((?:[\w-]*[_-])?(?:password|passwd|pwd|token|secret|api[_-]?key|"
    r"access[_-]?key|signature|sig|auth))=[^&;\s'\"]+"
)
_TOKENS = re.compile(r"\b(?:hf_|ghp_)[A-Za-z0-9]{30,}|\bdapi[0-9a-f]{32}|(?<=Bearer )\S{8,}")


def mask_secrets(value: T) -> T:
    """The value with what looks like a secret in it hidden: in a text, or in all texts of a
    nested value.

    Hidden are passwords of addresses (`scheme://user:password@host`), values of such names as
    `token` and `api_key` in queries, and tokens of well-known makes. Too much is hidden rather
    than too little.
    """
    if isinstance(value, str):
        text = _BEFORE_HOST.sub(rf"\1:{HIDDEN}@", value)
        text = _WITHOUT_HOST.sub(rf"\1:{HIDDEN}", text)
        text = _NAMED.sub(rf"\1\2={HIDDEN}", text)
        return cast("T", _TOKENS.sub(HIDDEN, text))
    if isinstance(value, Mapping):
        return cast("T", {key: mask_secrets(each) for key, each in value.items()})
    if isinstance(value, list):
        return cast("T", [mask_secrets(each) for each in value])
    return value
