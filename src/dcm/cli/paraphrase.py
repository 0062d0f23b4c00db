"""`dcm paraphrase`: its options, and doing it."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcm.cli.reporting import reporting

if TYPE_CHECKING:
    from dcm.dataset import TaskDataset
    from dcm.paraphrasing import Made
    from dcm.paraphrasing.making import Judge


def paraphrase(
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Examples; default samples.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set dataset.FIELD, repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.JSONL", help="Where the paraphrases go.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model that writes them.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Base address, as http://localhost:8000/v1.")
    ] = None,
    client: Annotated[
        str,
        typer.Option(metavar="NAME", help="openai, anthropic, or local: a model in this process."),
    ] = "openai",
    key_variable: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the key; see below."),
    ] = None,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="Of each text.")] = 5,
    mode: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="question or answer, repeatable; default both."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE.TOML", help="Prompts of your own.")
    ] = None,
    write_prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.TOML", help="Write the default prompts there, and end."),
    ] = None,
    attempts: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most times that a text is asked for.")
    ] = 3,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="Of sampling.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Of a reply.")] = 1024,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most requests at once.")
    ] = 8,
    per_minute: Annotated[
        float | None, typer.Option(metavar="N", min=0.1, help="Most requests a minute.")
    ] = None,
    retries: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of a request, with growing pauses.")
    ] = 6,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="To wait for a reply.")
    ] = 120.0,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Judge what passes the filters with this model."),
    ] = None,
    judge_method: Annotated[
        str, typer.Option(metavar="NAME", help="embedding or nli.")
    ] = "embedding",
    judge_threshold: Annotated[
        float, typer.Option(metavar="X", min=0.0, max=1.0, help="Least similarity.")
    ] = 0.8,
    price_in: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="Price of a million prompt tokens.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(metavar="X", min=0.0, help="Price of a million reply tokens.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Have a model write paraphrases of a data set's questions and answers.

    \b
    dcm paraphrase --dataset squad --set dataset.path=dev.json --n 5 \\
        --endpoint http://localhost:8000/v1 --model NAME --out variants.jsonl
    dcm run --objective paraphrase --dataset paraphrased --set dataset.path=variants.jsonl \\
        --set dataset.dataset=squad --set dataset.dataset.path=dev.json

    Every reply is kept beside --out: after an interruption the same command goes on. What a
    filter rejects stands in --out with its reason.

    A key comes from the environment alone: from --key-variable; else OPENAI_API_KEY goes to
    https://api.openai.com, ANTHROPIC_API_KEY to https://api.anthropic.com, and none elsewhere.

    Exit status: 0 done, 1 some requests failed, 2 bad usage, 130 interrupted.
    """
    going_on = {"begun": False}

    def how_to_go_on() -> str:
        return "The replies are kept; the same command goes on." if going_on["begun"] else ""

    with reporting(debug, how_to_go_on):
        from dcm.errors import UsageError
        from dcm.paraphrasing import Maker, Prompts, make, open_writer
        from dcm.paraphrasing.prompts import MODES, default_text

        if write_prompts is not None:
            if write_prompts.exists():
                raise UsageError(f"{write_prompts} is there already", "", "Choose another file")
            write_prompts.write_text(default_text(), encoding="utf-8")
            typer.echo(f"The prompts are in {write_prompts}; use them by --prompts {write_prompts}")
            return
        for name, value in (("--model", model), ("--out", out)):
            if value is None:
                raise UsageError(f"{name} is missing", "", "See dcm paraphrase --help")
        modes = tuple(dict.fromkeys(mode or MODES))
        if not set(modes) <= set(MODES):
            raise UsageError(f"--mode {', '.join(modes)} was given", "", f"Use {', '.join(MODES)}")
        assert model is not None  # noqa: S101 - checked above
        assert out is not None  # noqa: S101
        writer = open_writer(
            client,
            model,
            endpoint=endpoint,
            key_variable=key_variable,
            temperature=temperature,
            max_tokens=max_tokens,
            timeout=timeout,
            retries=retries,
            batch=concurrency,
        )
        maker = Maker(
            writer,
            model,
            Prompts.read(prompts),
            count=n,
            modes=modes,
            judge=_judge(judge, judge_method, judge_threshold) if judge else None,
            attempts=attempts,
            concurrency=concurrency,
            per_minute=per_minute,
            settings=f"{client} temperature={temperature} max_tokens={max_tokens}",
        )
        examples = _examples(dataset or "samples", settings or [])
        going_on["begun"] = True
        made = _make(make, maker, examples, out)
        summary = {
            **made.as_json(),
            "cost": _cost(made, price_in, price_out),
            "model": model,
            "client": client,
            "endpoint": endpoint,
            "n": n,
            "out": str(out),
        }
        text = json_module.dumps(summary, indent=2, ensure_ascii=False)
        summary_path = out.with_name(f"{out.name.removesuffix('.jsonl')}.summary.json")
        summary_path.write_text(text + "\n", encoding="utf-8")
        if json:
            typer.echo(text)
        else:
            _print(made, summary)
        if made.failed:
            raise typer.Exit(1)


def _examples(name: str, settings: list[str]) -> TaskDataset:
    """The data set, built as `dcm run` builds it."""
    from dcm.cli.fields import component
    from dcm.cli.overrides import build_parts, check, override, split
    from dcm.errors import UsageError
    from dcm.plugins import installed

    installed().registered("dataset", name)
    form = {"dataset": component("dataset", name)}
    parts = [split(setting) for setting in settings]
    for key, _ in parts:
        if key.partition(".")[0] != "dataset":
            raise UsageError(f"there is no key {key!r}", "Only the data set has fields here")
    override(form, parts)
    check(form)
    found: TaskDataset = build_parts(form)["dataset"]
    return found


def _judge(model: str, method: str, threshold: float) -> Judge:
    """The evaluator `semantic` as a judge."""
    from dcm.example import Example
    from dcm.outcome import Outcome, Status
    from dcm.plugins import find

    evaluator = find("evaluator", "semantic")(model=model, method=method, threshold=threshold)

    def same(example: Example, mode: str, text: str) -> bool:
        outcome = Outcome(example, Status.CONVERGED, decoded={mode: text})
        # It judges texts and asks nothing of a generator.
        (found,) = evaluator.evaluate(None, [example], [outcome])
        return bool(found[f"{mode}_equivalent"])

    return same


def _make(make: Any, maker: Any, examples: TaskDataset, out: Path) -> Made:
    """Make them, with a line on how far it is where someone looks."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        return make(maker, examples, out)  # type: ignore[no-any-return]
    with console.status("Loading the data set ...") as line:
        count = len(examples)
        line.update(f"0 of {count} examples")

        def tell(made: Made) -> None:
            tokens = made.input_tokens + made.output_tokens
            line.update(
                f"{made.examples} of {count} examples, {made.requests} requests, {tokens} tokens"
            )

        return make(maker, examples, out, tell)  # type: ignore[no-any-return]


def _cost(made: Made, price_in: float | None, price_out: float | None) -> float | None:
    """What all replies cost, in the prices' currency; None without prices."""
    if price_in is None and price_out is None:
        return None
    total = made.input_tokens * (price_in or 0) + made.output_tokens * (price_out or 0)
    return round(total / 1e6, 6)


def _print(made: Made, summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")

    def counts(found: dict[str, int]) -> str:
        return ", ".join(f"{count} {name}" for name, count in found.items())

    rows = [("examples", str(made.examples))]
    rows += [
        (f"{mode}s", f"{made.variants[mode]} paraphrases of {wanted} wanted")
        for mode, wanted in made.wanted.items()
    ]
    rows.append(("rejected", counts(dict(made.rejected.most_common())) or "none"))
    if made.failed:
        rows.append(("failed", counts(dict(made.failed.most_common()))))
    rows.append(("replies", f"{made.requests} asked for, {made.kept} kept from before"))
    tokens = f"{made.input_tokens} in prompts, {made.output_tokens} in replies"
    if made.uncounted:
        tokens += f"; {made.uncounted} replies were not counted"
    rows.append(("tokens", tokens))
    if summary["cost"] is not None:
        rows.append(("cost", f"{summary['cost']:.4f}"))
    rows.append(("written to", summary["out"]))
    for name, figure in rows:
        table.add_row(name, Text(figure))
    Console(highlight=False).print(table)
    if made.failed:
        typer.echo("Some requests failed: the same command asks for them again.", err=True)
