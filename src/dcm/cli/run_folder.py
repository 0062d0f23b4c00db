"""`dcm verify`, `dcm track`, `dcm report`: their options. What they do is imported when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcm.cli.reporting import reporting

_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    certify: Annotated[
        bool, typer.Option("--certify", help="Decode all contents again, with the run's model.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As for 'dcm run'; with --certify."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Check that a run's folder holds what the run wrote: every line, every content.

    \b
    dcm verify runs/one
    dcm verify runs/one --certify
    dcm verify runs/one --certify --set dataset.path=/where/it/is/now.json

    It changes nothing; 'dcm run --out DIR --resume' mends what can be mended.
    Exit status: 0 all is sound, 1 something is not, 2 it is no run.
    """
    from dcm.cli.verify import print_verification

    with reporting(debug):
        if print_verification(directory, certify, settings or (), json):
            raise typer.Exit(1)


def track(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="tracker.KEY=VALUE", help="Set the tracker or its fields."),
    ] = None,
    debug: _Debug = False,
) -> None:
    """Tell a tracker of a run that is there: what was not sent when it ran.

    \b
    dcm track runs/one
    dcm track runs/one --set tracker.uri=http://tracking.example.org:5000

    It becomes a run of its own there. The default tracker is mlflow.
    """
    from dcm.cli.track import track_directory

    with reporting(debug):
        track_directory(directory, settings or ())


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of runs, sweeps or protocols."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page; default report.html in the first DIR."),
    ] = None,
    debug: _Debug = False,
) -> None:
    """Write a page on what runs came to, one file for any browser, and its figures.

    \b
    dcm report runs/one
    dcm report runs/sweep
    dcm report runs/one runs/two --out compared.html

    Runs may be unfinished; what is damaged is left out, and the page says what.
    The figures are beside it as SVG and PNG, in report-figures.
    """
    from dcm.reporting.report import figures_of
    from dcm.reporting.report import report as write

    with reporting(debug):
        page = write(*directories, out=out)
        typer.echo(f"{page}\nfigures in {figures_of(page)}")
