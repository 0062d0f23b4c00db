"""Loading: a model and its tokenizer as Hugging Face keeps them, whole, or an error that says what
is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dcm.causal_lm.devices import device_of
from dcm.causal_lm.refusals import FITS, why_not_loaded
from dcm.causal_lm.tokens import check_tokenizer, take_models_end
from dcm.causal_lm.weights import Weights
from dcm.errors import GeneratorError
from dcm.memory_limit import is_out_of_memory

_SPELLINGS = {
    "float32": ("float32", "fp32", "f32", "float"),
    "bfloat16": ("bfloat16", "bf16"),
    "float16": ("float16", "fp16", "f16", "half"),
    "float64": ("float64", "fp64", "f64", "double"),
}
DTYPES = {spelling: name for name, all_of in _SPELLINGS.items() for spelling in all_of}
"""Every spelling of a dtype that is understood, and its name."""


def load_model(
    name: str,
    *,
    dtype: str,
    device: str,
    local: bool,
    trust_remote_code: bool = False,
    revision: str | None = None,
    device_map: str | None = None,
    tp_plan: str | None = None,
    weights: Weights | None = None,
    **more: Any,
) -> tuple[Any, Any]:
    """A frozen model and its tokenizer, from a folder or, unless `local`, from the hub.

    Args:
        name: folder, or name on the hub.
        dtype: name of a torch dtype; "auto" for the checkpoint's on a GPU and float32 on a CPU.
        device: a torch device, or "auto" for a GPU if there is one.
        local: never use a network.
        trust_remote_code: run code that comes with the model.
        revision: branch, tag or commit on the hub.
        device_map: how to spread the model over devices, as accelerate has it; for `device`.
        tp_plan: how to split layers over processes, as transformers has it; for `device`.
        weights: how they are read and kept; None as the checkpoint has them.
        more: further options of `from_pretrained` for the model.

    Raises:
        GeneratorError: there is no complete model at `name`.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    asked = f"the model {name!r} cannot be loaded"
    if local and not Path(name).is_dir():
        raise GeneratorError(asked, "There is no such folder", "Check the path")
    weights = weights or Weights()
    weights.check(name, local=local)
    device = str(device_of(device))
    if dtype == "auto" and torch.device(device).type == "cpu":
        dtype = "float32"
    spread = {
        key: value for key, value in (("device_map", device_map), ("tp_plan", tp_plan)) if value
    }
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    options |= {"revision": revision} if revision else {}
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        number = dtype if dtype == "auto" else getattr(torch, DTYPES[dtype])
        model, missing = weights.read(name, number, device, {**options, **spread, **more})
        model = model if spread else model.to(device)
        tokenizer = AutoTokenizer.from_pretrained(name, **options, **weights.tokenizer_options)
    except GeneratorError:
        raise
    except Exception as error:  # the library raises many kinds
        do = "Give a folder with config.json, weights and tokenizer, or a name on the hub"
        do = FITS if is_out_of_memory(error) else do
        raise GeneratorError(asked, why_not_loaded(error), do) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    if missing:
        there = f"Its weights lack {len(missing)} tensors ({', '.join(missing[:3])}, ...)"
        raise GeneratorError(asked, there, "Give a complete model")
    if weights.gguf_file is not None:
        take_models_end(tokenizer, model)
    check_tokenizer(tokenizer, model, asked)
    return model.eval().requires_grad_(requires_grad=False), tokenizer
