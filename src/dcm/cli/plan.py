"""`dcm plan`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from dcm.cli.reporting import reporting


def plan(
    model: Annotated[
        str, typer.Option(metavar="NAME_OR_CONFIG", help="Folder, config.json, or hub name.")
    ],
    memory: Annotated[str, typer.Option(metavar="32GiB", help="What the device has.")],
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="What it computes in; default the config's.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="NAME", help="What layers are kept in; default several.")
    ] = None,
    compute: Annotated[
        str | None, typer.Option(metavar="NAME", help="What steps multiply in: fp8 or bfloat16.")
    ] = None,
    slots: Annotated[int, typer.Option(metavar="K", min=1, help="Vectors per example.")] = 32,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of a target.")] = 16,
    layout: Annotated[str, typer.Option(metavar="NAME", help="prefix or suffix.")] = "prefix",
    device: Annotated[str, typer.Option(metavar="NAME", help="cuda or cpu.")] = "cuda",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Tell what fits into a device's memory, from a model's config alone.

    \b
    dcm plan --model ./my-model --memory 32GiB
    dcm plan --model Qwen/Qwen2.5-7B --memory 24GiB --quantize nf4 --slots 16
    """
    from dcm.cli.planning import PlanRequest, print_plan

    with reporting(debug):
        print_plan(
            PlanRequest(model, memory, dtype, quantize, compute, slots, tokens, layout, device)
        )
