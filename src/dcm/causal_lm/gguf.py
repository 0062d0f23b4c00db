"""GGUF: a model in one file, the form of llama.cpp, dequantised when it is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dcm.errors import GeneratorError, did_you_mean


def gguf_options(name: str, file: str, *, local: bool) -> dict[str, Any]:
    """What `from_pretrained` is told so that it reads weights and config from `file`.

    Args:
        name: the folder or hub repository in which the file is.
        file: its name there.
        local: whether `name` is a folder.

    Raises:
        GeneratorError: the package gguf or the file is missing.
    """
    asked = f"the GGUF file {file!r} of {name!r} cannot be loaded"
    if find_spec("gguf") is None:
        raise GeneratorError(asked, "The package gguf is not installed", "pip install gguf")
    if local and not (Path(name) / file).is_file():
        there = sorted(path.name for path in Path(name).glob("*.gguf"))
        do = did_you_mean(file, there) if there else "Give the folder that it is in"
        raise GeneratorError(asked, "There is no such file", do)
    options: dict[str, Any] = {"gguf_file": file}
    try:
        from transformers import GgufConfig
    except ImportError:  # older releases dequantise always
        return options
    # Where kernels for packed weights are installed they would be taken: they have no gradient.
    return {**options, "quantization_config": GgufConfig(dequantize=True)}
