"""Fingerprints: short texts that tell whether two things are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from dcm.example import Example

if TYPE_CHECKING:
    from torch import Tensor

_FIELDS = [field.name for field in attrs.fields(Example)]


def of_value(value: Any) -> str:
    """16 hexadecimal digits of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_name)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def of_example(example: Example) -> str:
    """16 hexadecimal digits of all that an example says."""
    return of_value({name: getattr(example, name) for name in _FIELDS})


def of_examples(examples: Mapping[str, str]) -> dict[str, Any]:
    """How many examples there are, and a fingerprint of all of them, in whatever order.

    Args:
        examples: id -> fingerprint.
    """
    every = hashlib.sha256()
    for each in sorted(examples.values()):
        every.update(each.encode())
    return {"count": len(examples), "sha256": every.hexdigest()}


def of_tensor(tensor: Tensor) -> str:
    """SHA-256 of a CPU tensor's bytes, in hexadecimal digits."""
    import torch

    # By its bytes: numpy has no bfloat16.
    data: Any = tensor.contiguous().view(torch.uint8).numpy()
    return hashlib.sha256(data).hexdigest()


def _name(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else type(value).__name__
