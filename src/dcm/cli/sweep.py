"""`dcm sweep`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcm.cli.reporting import reporting


def sweep(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT",
            help="The experiment.json to vary, or a run's folder; default the main job.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=V,V,...", help="Values of any field, repeatable; one: for all."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The sweep's folder.")] = Path(
        "runs/sweep"
    ),
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not track with MLflow.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Many workers: local, ray or torchrun."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many; default one a GPU.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Ray cluster, as auto.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(metavar="N", help="Cards that a worker gets; default 1.")
    ] = None,
    max_failures: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="As for 'dcm run', of each cell."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run an experiment with every combination of values, and compare.

    \b
    dcm sweep --set slots=1,2,4,8,16,32
    dcm sweep --set slots=4,8 --set optimizer.inner.lr=0.03,0.1 --set dataset.limit=20
    dcm sweep runs/one --set seed=0,1,2 --out runs/seeds
    dcm sweep --set slots=4,8 --engine local --workers 2

    The keys are those of 'dcm run --set'. Commas part values, except within [], {} or quotes.
    Each combination, a cell, is a run in a folder below --out. The same command again goes on
    where it stopped; other values add cells, and those that are there are kept.
    Cells run one after the other, each over all workers, as 'dcm run' does.

    Exit status: 0 done, 1 a cell failed, 2 bad usage, 130 interrupted, 143 ended by SIGTERM.
    """
    from dcm.cli.sweeping import SweepRequest
    from dcm.cli.workforce import Workforce

    request = SweepRequest(
        experiment,
        settings or (),
        out,
        track=not no_track,
        json=json,
        max_failures=max_failures,
        workforce=Workforce(engine, workers, address, gpus_per_worker),
    )
    with reporting(debug, request.how_to_go_on):
        if request.run():
            raise typer.Exit(1)
