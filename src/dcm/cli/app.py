"""The commands and their options. What they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import dcm
from dcm.cli.reporting import reporting

app = typer.Typer(
    add_completion=False,
    # Plain help is half as long, and errors are told by `reporting`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """The console script."""
    app(prog_name="dcm")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dcm {dcm.__version__}")
        raise typer.Exit


@app.callback()
def _dcm(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Optimise a few vectors per example so that a frozen language model generates its question
    under one mode and its answer under another.

    \b
    dcm run                   the main job: bundled model, bundled examples
    dcm list dataset          which data sets there are
    dcm show dataset squad    its fields, and how to set them
    """


_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def run(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.JSON",
            help="What to run, as every run folder has one; default the main job.",
        ),
    ] = None,
    generator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Frozen language model; default nano.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Examples; default samples.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to generate; default joint.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="How to optimise; default restarts.")
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(metavar="NAME", help="When an example is done; default exact.")
    ] = None,
    evaluator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="How to judge results, repeatable; default greedy-decode."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any field, repeatable; see above."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of all randomness; default 0.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run folder; default runs/<dataset>-<generator>-<UTC time>."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not track with MLflow.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Run an experiment: optimise, certify, evaluate, record.

    \b
    dcm run
    dcm run --dataset squad --set dataset.path=dev.json --set dataset.limit=100
    dcm run --generator transformers --set generator.model=gpt2 --set slots=16
    dcm run --set optimizer.inner.lr=0.1 --set evaluators.0.partial=0.4
    dcm run runs/one/experiment.json --seed 1 --out runs/two
    dcm run --out runs/two --resume

    A key is a field of the experiment (slots, max_steps, seed, lanes, layout, baseline_draws,
    on_error), or a component and its field: dataset.limit, optimizer.inner.lr, tracker.uri;
    'dcm show KIND NAME' lists them. A value is TOML, or else plain text; 'none' is no value.
    A component's key takes a name: optimizer.inner=adam.

    Exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted.
    """
    from dcm.cli.run import Request

    request = Request(
        experiment=experiment,
        chosen={
            "generator": generator,
            "dataset": dataset,
            "objective": objective,
            "optimizer": optimizer,
            "criterion": criterion,
        },
        evaluators=evaluator or (),
        settings=settings or (),
        seed=seed,
        out=out,
        resume=resume,
        track=not no_track,
        json=json,
    )
    with reporting(debug, request.how_to_go_on):
        request.run()


@app.command()
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
    slots: Annotated[int, typer.Option(metavar="K", min=1, help="Vectors per example.")] = 32,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of a target.")] = 16,
    layout: Annotated[str, typer.Option(metavar="NAME", help="prefix or suffix.")] = "prefix",
    device: Annotated[str, typer.Option(metavar="NAME", help="cuda or cpu.")] = "cuda",
    debug: _Debug = False,
) -> None:
    """Tell what fits into a device's memory, from a model's config alone.

    \b
    dcm plan --model ./my-model --memory 32GiB
    dcm plan --model Qwen/Qwen2.5-7B --memory 24GiB --quantize nf4 --slots 16
    """
    from dcm.cli.planning import PlanRequest, print_plan

    with reporting(debug):
        print_plan(PlanRequest(model, memory, dtype, quantize, slots, tokens, layout, device))


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="generator, dataset, objective, optimizer, criterion, evaluator or tracker.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """List the components that installed plugins provide.

    \b
    dcm list
    dcm list dataset
    """
    from dcm.cli.catalogue import print_list

    with reporting(debug):
        print_list(kind, json)


@app.command()
def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as dataset.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as squad.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Show a component: what it does, its fields, and how to set them.

    \b
    dcm show dataset squad
    dcm show optimizer restarts
    """
    from dcm.cli.catalogue import print_component

    with reporting(debug):
        print_component(kind, name, json)


@app.command()
def check(debug: _Debug = False) -> None:
    """Check every component of every installed plugin.

    Each must be importable, of its kind, a frozen attrs class, documented, and the same after
    its serial form. Exit status 1 if any is not.
    """
    from dcm.cli.checking import print_problems

    with reporting(debug):
        if print_problems():
            raise typer.Exit(1)
