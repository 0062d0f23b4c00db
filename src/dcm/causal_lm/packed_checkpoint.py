"""Packed checkpoints: those whose weights are in blocks of 4 bits, which stay so in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcm.causal_lm.four_bits import BLOCK, Form, fill
from dcm.causal_lm.skeleton import skeleton
from dcm.errors import GeneratorError

# Of an expert by itself, as compressed-tensors stores it; models hold all of a layer in one.
_EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(gate|up|down)_proj\.(.+)")


def packed_form(config: Any) -> Form | None:
    """The form in which a config says that its weights are; None where it is none of these."""
    stated = getattr(config, "quantization_config", None)
    if stated is None:
        return None
    stated = stated if isinstance(stated, dict) else stated.to_dict()
    if stated.get("quant_method") == "mxfp4":
        return "mxfp4"
    groups = list((stated.get("config_groups") or {}).values())
    if stated.get("format") != "pack-quantized" or len(groups) != 1:
        return None
    weights = groups[0].get("weights") or {}
    wanted = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": BLOCK}
    return "int4" if wanted.items() <= weights.items() else None


def packed_model(
    name: str, dtype: torch.dtype | str, device: torch.device | str, options: Mapping[str, Any]
) -> Any | None:
    """The model of a folder or hub repository, or None where its checkpoint is no packed one.

    Args:
        name: the folder or repository.
        dtype: of all that is not packed; "auto" for the config's, or bfloat16.
        device: where the model shall be.
        options: what `from_pretrained` is told besides.

    Raises:
        GeneratorError: tensors are missing or of other shapes.
    """
    from huggingface_hub import snapshot_download
    from transformers import AutoConfig

    known = ("revision", "local_files_only", "trust_remote_code")
    config = AutoConfig.from_pretrained(name, **{k: options[k] for k in known if k in options})
    if packed_form(config) is None:
        return None
    if not isinstance(dtype, torch.dtype):
        dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.bfloat16
    folder = name
    if not Path(name).is_dir():
        wanted = {key: options[key] for key in known[:2] if key in options}
        folder = snapshot_download(name, allow_patterns=["*.safetensors", "*.json"], **wanted)
    return load_packed(folder, config, dtype, device)


def load_packed(
    folder: str | Path, config: Any, dtype: torch.dtype, device: torch.device | str
) -> Any:
    """The model of a folder, its blocks as they are stored.

    Args:
        folder: with safetensors files.
        config: its config, of which `packed_form` says a form.
        dtype: of all else.
        device: where it shall be.

    Raises:
        GeneratorError: tensors are missing or of other shapes.
    """
    form = packed_form(config)
    assert form is not None  # noqa: S101 - what the caller has asked
    del config.quantization_config
    asked = f"the model {str(folder)!r} cannot be loaded"
    names = [name for name, _ in _tensors(folder, "meta")]
    linears = {
        name.removesuffix(".weight_packed")
        for name in names
        if name.endswith(".weight_packed") and not _EXPERT.fullmatch(name)
    }
    model = skeleton(config, dtype, device, form, tuple(sorted(linears)))
    filling = _Filling(model, device)
    try:
        for name, tensor in _tensors(folder, device):
            filling.take(name, tensor)
        filling.finish()
    except (AttributeError, KeyError, ValueError) as error:
        there = " ".join(str(error).split())
        raise GeneratorError(asked, there, "Give a complete model in safetensors") from error
    model.tie_weights()
    missing = [name for name, each in model.named_parameters() if each.is_meta]
    if missing:
        there = f"Its weights lack {len(missing)} tensors ({', '.join(missing[:3])}, ...)"
        raise GeneratorError(asked, there, "Give a complete model")
    return model


class _Filling:
    """Puts the tensors of a checkpoint into a skeleton."""

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self._model, self._device = model, device
        # By module and weight: what is kept of it, blocks and scales.
        self._kept: dict[tuple[str, str], dict[str, Tensor]] = {}

    def take(self, name: str, tensor: Tensor) -> None:
        """Put in one tensor, or keep it until all that belong to it are there."""
        if name.endswith((".weight_shape", ".weight_zero_point", ".weight_g_idx")):
            return
        if found := _EXPERT.fullmatch(name):
            self._take_expert(found[1], int(found[2]), found[3], found[4], tensor)
        elif found := re.fullmatch(r"(.+)\.(\w+)_(blocks|scales)", name):  # of gpt-oss
            self._kept.setdefault((found[1], found[2]), {})[found[3]] = tensor
        elif found := re.fullmatch(r"(.+)\.weight_(packed|scale)", name):
            kind, value = _part(found[2], tensor)
            self._kept.setdefault((found[1], "weight"), {})[kind] = value
        else:
            parent, _, leaf = name.rpartition(".")
            module = self._model.get_submodule(parent)
            known = getattr(module, leaf)
            if known.shape != tensor.shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not {tuple(known.shape)}")
            value = tensor.to(known.dtype)
            if isinstance(known, nn.Parameter):
                setattr(module, leaf, nn.Parameter(value, requires_grad=False))
            else:
                setattr(module, leaf, value)

    def _take_expert(self, layer: str, expert: int, which: str, rest: str, tensor: Tensor) -> None:
        weight = "down_proj" if which == "down" else "gate_up_proj"
        kind, value = _part(rest.removeprefix("weight_"), tensor)
        experts: Any = self._model.get_submodule(layer)
        own = experts.parametrizations[weight]
        like = own.original0 if kind == "blocks" else own.original1
        kept = self._kept.setdefault((layer, weight), {})
        if kind not in kept:
            kept[kind] = torch.empty(like.shape, dtype=like.dtype, device=self._device)
        lines = kept[kind][expert]
        half = len(lines) // 2
        {"gate": lines[:half], "up": lines[half:], "down": lines}[which].copy_(value)

    def finish(self) -> None:
        """Put in what was kept."""
        for (module, weight), kept in self._kept.items():
            fill(self._model.get_submodule(module), weight, kept["blocks"], kept["scales"])


def _part(kind: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Blocks or scales, of what compressed-tensors calls `packed` and `scale`."""
    if kind == "packed":
        return "blocks", tensor.contiguous().view(torch.uint8).view(
            *tensor.shape[:-1], -1, BLOCK // 2
        )
    if kind == "scale":
        return "scales", tensor
    raise KeyError(f"weight_{kind} is no part of INT4 weights")


def _tensors(folder: str | Path, device: torch.device | str) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a folder's safetensors files; on "meta" empty ones."""
    from safetensors import safe_open

    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = [folder / name for name in sorted(set(listed.values()))]
    else:
        files = [folder / "model.safetensors"]
    nothing = torch.empty(0, device="meta")
    for file in files:
        with safe_open(file, framework="pt", device="cpu") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                empty = str(device) == "meta"
                yield name, nothing if empty else opened.get_tensor(name).to(device)
