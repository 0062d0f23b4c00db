"""`dcm plan`: what fits into a device's memory, from a model's config alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console
from rich.table import Table

from dcm.errors import GeneratorError, UsageError

if TYPE_CHECKING:
    from dcm.causal_lm.planning import Plan, Shape

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# The forms that are shown where none is asked for.
_FORMS = (None, "int8", "int4", "nf4", "mxfp4")


@attrs.frozen
class PlanRequest:
    """What `dcm plan` was asked.

    Attributes:
        model: a folder or config.json of a model, or its name on the hub.
        memory: such as "32GiB".
        dtype: what it computes in; None for the config's, or bfloat16.
        quantize: the only form to show; None for several.
        compute: what linear layers multiply in during steps; None for `dtype`.
        slots: K.
        tokens: of a target.
        layout: where the mode vector stands.
        device: "cuda", where layers are compiled, or "cpu".
    """

    model: str
    memory: str
    dtype: str | None
    quantize: str | None
    compute: str | None
    slots: int
    tokens: int
    layout: str
    device: str


def print_plan(request: PlanRequest) -> None:
    """Print what fits.

    Raises:
        UsageError: a number or name is none.
        GeneratorError: there is no such config, or it cannot be planned.
    """
    memory = bytes_of(request.memory)
    shape, stated = _shape(request)
    forms = (request.quantize or stated,) if request.quantize or stated else _FORMS
    console = Console(highlight=False, soft_wrap=True)
    counts = f"{shape.parameters / 1e9:,.2f} billion parameters"
    if shape.active != shape.parameters:
        counts += f", {shape.active / 1e9:,.2f} billion of them active"
    console.print(f"{request.model}: {counts}")
    console.print(
        f"K = {request.slots}, two targets of {request.tokens} tokens a row, {request.layout}, "
        f"{str(shape.dtype).removeprefix('torch.')}, {memory / 2**30:,.4g} GiB"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for name in ("layers in", "weights", "other", "a row", "lanes", "at most"):
        table.add_column(name, justify="left" if name == "layers in" else "right", no_wrap=True)
    for form in forms:
        table.add_row(form or "as they are", *_row(_plan(request, shape, memory, form)))
    console.print()
    console.print(table)
    console.print(
        "\nComputed from the config, for a GPU in GiB that torch may take. 'other' are copies of "
        "weights,\nwhat is dense for a moment, and logits."
        if request.device == "cuda"
        else "\nComputed from the config; a process takes more for its libraries."
    )


def _row(plan: Plan) -> list[str]:
    cells = [f"{plan.weights / 2**30:,.1f} GiB", f"{(plan.copies + plan.logits) / 2**30:,.1f} GiB"]
    cells.append(f"{plan.row / 2**20:,.4g} MiB")
    if not plan.lanes:
        return [*cells, "none", f"{plan.peak(1) / 2**30:,.1f} GiB"]
    lanes = min(plan.lanes, 1024)
    return [*cells, f"{lanes:,}", f"{plan.peak(lanes) / 2**30:,.1f} GiB"]


def _plan(request: PlanRequest, shape: Shape, memory: int, form: Any) -> Plan:
    from dcm.causal_lm.planning import plan

    return plan(
        shape,
        memory,
        slots=request.slots,
        tokens=request.tokens,
        layout="suffix" if request.layout == "suffix" else "prefix",
        quantize=form,
        compute=request.compute,  # type: ignore[arg-type]
        compiled=request.device == "cuda",
    )


def _shape(request: PlanRequest) -> tuple[Shape, str | None]:
    """What is counted, and the form that a checkpoint is in already."""
    import torch
    from transformers import AutoConfig

    from dcm.causal_lm.loading import DTYPES
    from dcm.causal_lm.planning import shape_of
    from dcm.causal_lm.quantised import QUANTIZE

    if request.quantize not in (None, *QUANTIZE):
        asked = f"--quantize {request.quantize}"
        raise UsageError(asked, "There is no such form", f"Use one of: {', '.join(QUANTIZE)}")
    if request.compute not in (None, "bfloat16", "fp8"):
        asked = f"--compute {request.compute}"
        raise UsageError(asked, "Steps cannot multiply in that", "Use bfloat16 or fp8")
    if request.layout not in ("prefix", "suffix"):
        raise UsageError(
            f"--layout {request.layout}", "There is no such layout", "Use prefix or suffix"
        )
    try:
        local = Path(request.model).exists()
        config = AutoConfig.from_pretrained(request.model, local_files_only=local)
    except Exception as error:  # the library raises many kinds
        asked = f"the config of {request.model!r} cannot be read"
        nowhere = not local and request.model.startswith(("/", ".", "~"))
        there = "There is no such folder" if nowhere else " ".join(str(error).split())
        do = "Give a folder with config.json, that file, or a name on the hub"
        raise GeneratorError(asked, there, do) from error
    stated = _stated(config, request.device)
    name = request.dtype or str(config.dtype or "bfloat16").removeprefix("torch.")
    dtype = getattr(torch, DTYPES.get(name, name), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise UsageError(f"--dtype {name}", "There is no such dtype", "Use bfloat16 or float32")
    return shape_of(config, dtype), stated


def _stated(config: Any, device: str) -> str | None:
    """The form of a checkpoint that is quantised, taken out of its config."""
    stated = getattr(config, "quantization_config", None)
    if stated is None:
        return None
    del config.quantization_config
    method = stated["quant_method"] if isinstance(stated, dict) else stated.quant_method
    forms = {"mxfp4": "mxfp4", "compressed-tensors": "int4"}
    if device == "cuda":
        forms["fp8"] = "block-fp8"  # on a CPU it is dequantised as it is read
    return forms.get(str(method))


def bytes_of(text: str) -> int:
    """The number of bytes that "32GiB" or "32 GB" says.

    Raises:
        UsageError: it says none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not float(found[1]):
        raise UsageError(f"--memory {text}", "That is no amount of memory", "Say it so: 32GiB")
    return round(float(found[1]) * unit)
