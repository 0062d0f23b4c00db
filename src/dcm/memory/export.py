"""Export: prompts made of contents, for programs that take prompt embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dcm.errors import DcmError, UsageError
from dcm.memory.item import mode_vector

if TYPE_CHECKING:
    from torch import Tensor

    from dcm.memory.memory import Memory

DTYPES = ("float32", "bfloat16", "float16")


def export_prompt_embeds(
    memory: Memory, path: Path, mode: str, ids: Iterable[str] | None, dtype: str | None
) -> int:
    """See `Memory.export`."""
    from safetensors.torch import save

    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} was asked for", "", f"Use one of: {', '.join(DTYPES)}")
    if path.exists():
        raise UsageError(f"{path} is there already", "", "Name a file that is not")
    wanted = getattr(torch, dtype) if dtype else memory.generator.dtype
    items = (
        [memory[each] for each in memory] if ids is None else [memory.item(each) for each in ids]
    )
    if not items:
        raise UsageError("nothing was to be exported", "The memory is empty", "Add pairs first")
    tensors = {}
    before, behind = (_embedded(memory, ids) for ids in memory.generator.frame)
    for item in items:
        lead = mode_vector(item, mode)[None]
        parts = (lead, item.content) if item.layout == "prefix" else (item.content, lead)
        tensors[item.id] = torch.cat([*before, *parts, *behind]).to(wanted)
    about = {
        "format": "dcm-prompt-embeds-1",
        "mode": mode,
        "layout": ",".join(sorted({item.layout for item in items})),
        "framing": "chat" if before or behind else "raw",
        "dtype": str(wanted).removeprefix("torch."),
        "model": str(memory.experiments[0]["generator"].get("params", {}).get("model", "")),
    }
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `save_file`, which makes files that only their owner may read.
        temporary.write_bytes(save(tensors, metadata=about))
        temporary.replace(path)
    except OSError as error:
        raise DcmError(f"{path} cannot be written", str(error), "Choose another place") from error
    return len(tensors)


def _embedded(memory: Memory, ids: Iterable[int]) -> list[Tensor]:
    """The embeddings [n, D] of a part of the frame, on the CPU, where there are any."""
    generator, found = memory.generator, torch.tensor([*ids], dtype=torch.int64)
    return [generator.embed(found.to(generator.device)).cpu()] if len(found) else []
