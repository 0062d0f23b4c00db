"""The commands and their options. What they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import dcm
from dcm.cli.paraphrase import paraphrase
from dcm.cli.plan import plan
from dcm.cli.reporting import reporting
from dcm.cli.run_folder import report, track, verify
from dcm.cli.sweep import sweep

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
        bool, typer.Option("--version", help="Print it and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Optimise a few vectors per example so that a frozen language model generates its question
    under one mode and its answer under another.

    \b
    dcm run                   the main job: bundled model, bundled examples
    dcm sweep --set slots=4,8 the same for several values, side by side
    dcm list dataset          which data sets there are
    dcm show dataset squad    its fields, and how to set them
    dcm report DIR            a page on what it came to
    dcm verify DIR            whether a run's folder is as the run wrote it
    dcm ask DIR QUESTION      what a run's contents answer
    """


_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def run(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT",
            help="experiment.json, a run's folder or mlflow:RUN_ID; default the main job.",
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
        typer.Option(metavar="NAME", help="How to judge, repeatable; default greedy-decode."),
    ] = None,
    slots: Annotated[
        str | None, typer.Option(metavar="K", help="Vectors per example; default 32.")
    ] = None,
    limit: Annotated[
        str | None, typer.Option(metavar="N", help="Examples to take at most; default all.")
    ] = None,
    max_steps: Annotated[
        str | None, typer.Option(metavar="N", help="Most steps of an attempt; default 500.")
    ] = None,
    lanes: Annotated[
        str | None, typer.Option(metavar="N", help="Examples at once; default what memory holds.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the model computes in, as bfloat16.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where it does, as cpu or cuda:1.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of all randomness; default 0.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any field, repeatable; see above."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Run folder; default runs/<dataset>-<generator>-<UTC time>."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not track with MLflow.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Many workers: local, ray or torchrun.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many; default one a GPU.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Ray cluster, as auto."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(metavar="N", help="Cards that a worker gets; default 1.")
    ] = None,
    max_failures: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Stop when components failed on more of the examples; default the first 20.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Run an experiment: optimise, certify, evaluate, record.

    \b
    dcm run
    dcm run --slots 8 --limit 20
    dcm run --dataset squad --set dataset.path=dev.json --limit 100
    dcm run --generator transformers --set generator.model=gpt2 --slots 16
    dcm run --set optimizer.inner.lr=0.1 --set evaluators.0.partial=0.4
    dcm run runs/one --seed 1 --out runs/two
    dcm run --out runs/two --resume
    dcm run --engine ray --address auto --out runs/three
    dcm run mlflow:RUN_ID --out runs/three

    A key is a field of the experiment (slots, max_steps, seed, lanes, layout, baseline_draws,
    on_error), or a component and its field: dataset.limit, optimizer.inner.lr, tracker.uri;
    'dcm show KIND NAME' lists them. A value is TOML, or else plain text; 'none' is no value.
    A component's key takes a name: optimizer.inner=adam.

    Exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted, 143 ended by SIGTERM.
    """
    from dcm.cli.run import Request, given
    from dcm.cli.workforce import Workforce

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
        settings=[
            *(settings or ()),
            *given("slots", slots),
            *given("dataset.limit", limit),
            *given("max_steps", max_steps),
            *given("lanes", lanes),
            *given("generator.dtype", dtype),
            *given("generator.device", device),
        ],
        seed=seed,
        out=out,
        resume=resume,
        track=not no_track,
        json=json,
        max_failures=max_failures,
        workforce=Workforce(engine, workers, address, gpus_per_worker),
    )
    with reporting(debug, request.how_to_go_on):
        request.run()


app.command()(verify)
app.command()(track)
app.command()(report)
app.command()(sweep)
app.command()(paraphrase)
app.command()(plan)


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="generator, dataset, objective, optimizer, criterion, evaluator or tracker, "
            "or its plural.",
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
    kind: Annotated[
        str,
        typer.Argument(metavar="[KIND]", help="Such as dataset; not needed."),
    ],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Such as squad.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Show a component: what it does, its fields, and how to set them.

    \b
    dcm show squad
    dcm show optimizer restarts
    """
    from dcm.cli.catalogue import print_component

    with reporting(debug):
        print_component(kind, name, json)


@app.command()
def ask(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    top: Annotated[int, typer.Option(metavar="N", help="How many candidates to show.", min=1)] = 5,
    exact: Annotated[
        bool, typer.Option("--exact", help="Measure all contents, not a shortlist of 64.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Ask what a run has kept: which content explains a question?

    \b
    dcm ask runs/first "When did it open?"
    dcm ask runs/first "When did it open?" --json
    """
    from dcm.cli.memory import print_answer

    with reporting(debug):
        print_answer(directory, question, top, exact=exact, as_json=json)


@app.command()
def calibrate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Questions that the memory cannot answer, one a line; default its own.",
        ),
    ] = None,
    false_answers: Annotated[
        float,
        typer.Option(metavar="SHARE", help="How many of them may get an answer; default 0.05."),
    ] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: _Debug = False,
) -> None:
    """Find from where on 'dcm ask' says that no memory fits.

    Without --questions the memory's own questions are asked of all its other items.
    """
    from dcm.cli.memory import print_threshold

    with reporting(debug):
        print_threshold(directory, questions, false_answers, as_json=json)


@app.command()
def generate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which items; default all.")
    ] = None,
    mode: Annotated[str, typer.Option(metavar="NAME", help="Which text.")] = "answer",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line an item.")] = False,
    debug: _Debug = False,
) -> None:
    """Generate texts from the contents that a run has left.

    \b
    dcm generate runs/first sample-12
    dcm generate runs/first --mode question
    """
    from dcm.cli.memory import print_generated

    with reporting(debug):
        print_generated(directory, ids or None, mode, as_json=json)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The new safetensors file.")],
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which items; default all.")
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="NAME", help="What to write; there is prompt-embeds.")
    ] = "prompt-embeds",
    mode: Annotated[str, typer.Option(metavar="NAME", help="Which text.")] = "answer",
    dtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="float32, bfloat16 or float16; default the model's."),
    ] = None,
    debug: _Debug = False,
) -> None:
    """Write contents as prompt embeddings, such as vLLM takes.

    \b
    dcm export runs/first --out first.safetensors --dtype bfloat16
    """
    from dcm.cli.memory import write_export

    with reporting(debug):
        write_export(directory, out, ids or None, format, mode, dtype)


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
