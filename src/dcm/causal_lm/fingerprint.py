"""fingerprint: tells whether a loaded model is the one it was."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

_SAMPLES = 4096


@torch.no_grad()
def fingerprint(
    model: Any, tokenizer: Any, frame: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
) -> str:
    """SHA-256, in hexadecimal digits, of a model's tensors as they are loaded, its tokenizer, and
    the tokens that stand around each prompt, if there are any.

    Of each parameter and buffer: name, dtype, shape, the sum of all its bits taken as whole
    numbers, which no single change leaves as it was, and the bits of 4,096 elements spread over
    it, which tell their order. A sum of whole numbers is the same on every device and with any
    number of threads, so that a model of gigabytes takes no longer than reading its memory once.
    """
    found = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel() and not tensor.is_meta:
            total, samples = _bits(tensor.detach())
            found.update(f" {total}".encode())
            found.update(samples)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    found.update(words.encode(errors="surrogatepass"))
    if any(frame):
        found.update(f" {frame}".encode())
    return found.hexdigest()


def _bits(tensor: Tensor) -> tuple[int, bytes]:
    """The sum of a tensor's bits as whole numbers, and the bits of some of its elements."""
    flat = tensor.reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    wide = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    whole = flat.view(wide[flat.element_size()])
    step = max(1, len(whole) // _SAMPLES)
    return int(whole.sum(dtype=torch.int64)), whole[::step].cpu().contiguous().numpy().tobytes()
