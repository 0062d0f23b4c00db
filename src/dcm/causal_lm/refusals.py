"""Why a library refused to load a model, in words that help."""

from __future__ import annotations

# What a library's message says, and what a reader of dcm's needs to know instead: they speak of
# options that dcm does not have, of a report that is not shown, or advise to run unknown code.
_PICKLE = (
    "Its weights are a pickle that holds more than tensors and could run any code: it is not "
    "opened. Have them as safetensors"
)
_INSTEAD = {
    "ignore_mismatched_sizes": "Its weights have other shapes than its config.json says",
    "weights_only": _PICKLE,
    "trust_remote_code": "It comes with Python code, which runs only if you ask for it",
}


FITS = "Use a smaller dtype, `quantize`, or a larger device; `dcm plan` tells what fits"
"""What to do where a device's memory does not hold a model."""


def why_not_loaded(error: Exception) -> str:
    """The reason in a sentence or two."""
    text = " ".join(str(error).split())
    for sign, said in _INSTEAD.items():
        if sign in text:
            return said
    return text or type(error).__name__
