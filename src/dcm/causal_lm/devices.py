"""Devices by name."""

from __future__ import annotations

from typing import Any

import torch

from dcm.errors import GeneratorError


def device_of(name: str) -> torch.device:
    """The device of a name such as "cpu" or "cuda:1"; "auto" is a GPU if there is one.

    Raises:
        GeneratorError: torch knows no such device, or there is none here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    asked = f"device {name!r} was asked for"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        do = "Use auto, cpu, cuda, or cuda:1 for the second GPU"
        raise GeneratorError(asked, "There is no such device", do) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"torch sees {count} CUDA GPUs" if count else "torch sees no CUDA GPU"
            do = "Use auto or cpu" if not count else f"Use cuda:0 to cuda:{count - 1}"
            if not torch.version.cuda is not None:
                there += ": this torch is built without CUDA"
            raise GeneratorError(asked, there, do)
    return device


def spread(model: Any) -> bool:
    """Whether a model is on more than one device, or a part of it is fetched when it is needed.

    A CUDA graph records what one device does.
    """
    return len({each.device for each in model.parameters()}) > 1
