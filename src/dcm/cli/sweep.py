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

    The keys are those of 'dcm run --set'. Commas part values, except within [], {} or quotes.
    Each combination, a cell, is a run in a folder below --out. The same command again goes on
    where it stopped; other values add cells, and those that are there are kept.

    Exit status: 0 done, 1 a cell failed, 2 bad usage, 130 interrupted, 143 ended by SIGTERM.
    """
    from dcm.cli.sweeping import SweepRequest

    request = SweepRequest(
        experiment, settings or (), out, track=not no_track, json=json, max_failures=max_failures
    )
    with reporting(debug, request.how_to_go_on):
        if request.run():
            raise typer.Exit(1)
