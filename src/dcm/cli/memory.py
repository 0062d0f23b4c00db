"""`dcm ask`, `dcm calibrate`, `dcm generate` and `dcm export`: what a run's contents are for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcm.errors import DcmError, UsageError
from dcm.memory.memory import Memory

if TYPE_CHECKING:
    from dcm.memory.answer import Answer, Threshold

# Items whose texts are generated before they are printed.
_PRINTED = 256


def print_answer(directory: Path, question: str, top: int, *, exact: bool, as_json: bool) -> None:
    """Ask a memory and print what it says.

    Raises:
        DcmError: there is no such memory, or it cannot be asked.
    """
    memory = Memory([directory])
    answer = memory.ask(question, top, shortlist=None if exact else 64)
    threshold = memory.threshold
    if as_json:
        form = attrs.asdict(answer)
        form["margin"] = None if answer.margin == float("inf") else answer.margin
        form["threshold"] = None if threshold is None else attrs.asdict(threshold)
        print(json.dumps(form, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if answer.fits is False:
        console.print(Text("No memory fits.", style="bold"))
    else:
        console.print(Text(answer.text, style="bold"))
    console.print(_candidates(answer))
    console.print(Text(_verdict(answer, threshold, directory)))


def print_threshold(
    directory: Path, questions: Path | None, false_answers: float, *, as_json: bool
) -> None:
    """Calibrate a memory and print from where on it says nothing.

    Raises:
        DcmError: there is no such memory, or too few questions.
    """
    texts = None if questions is None else _lines(questions)
    threshold = Memory([directory]).calibrate(texts, false_answers)
    if as_json:
        print(json.dumps(attrs.asdict(threshold), indent=2))
        return
    asked = "of its own, each asked of all other items" if threshold.of == "memory" else "given"
    print(
        f"An answer needs a margin of {threshold.margin:.2f}. Of {threshold.questions} questions "
        f"({asked}) {threshold.false_answers:.1%} reach it."
    )


def print_generated(
    directory: Path, ids: Sequence[str] | None, mode: str, *, as_json: bool
) -> None:
    """Generate texts and print them as they come.

    Raises:
        DcmError: there is no such memory, item or mode.
    """
    memory = Memory([directory])
    wanted = list(memory) if ids is None else [memory.item(each).id for each in ids]
    for at in range(0, len(wanted), _PRINTED):
        some = wanted[at : at + _PRINTED]
        for each, text in zip(some, memory.generate(some, mode), strict=True):
            if as_json:
                print(json.dumps({"id": each, "mode": mode, "text": text}, ensure_ascii=False))
            else:
                print(text if ids is not None and len(ids) == 1 else f"{each}\t{text}")


def write_export(
    directory: Path,
    out: Path,
    ids: Sequence[str] | None,
    format: str,
    mode: str,
    dtype: str | None,
) -> None:
    """Write contents for another program.

    Raises:
        DcmError: there is no such memory, item, mode or format, or the file cannot be written.
    """
    if format != "prompt-embeds":
        raise UsageError(f"the format {format!r} was asked for", "", "There is prompt-embeds")
    count = Memory([directory]).export(out, mode, ids, dtype=dtype)
    print(f"{count} {'prompt' if count == 1 else 'prompts'} for the mode {mode} in {out}")
    print("Another program computes with other kernels: certify them where they are served.")


def _candidates(answer: Answer) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("loss", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold", max_width=24)
    table.add_column("stored question", ratio=1)
    table.add_column("stored answer", max_width=24)
    for each in answer.candidates:
        figures = f"{each.loss:.2f}", f"{each.score:.2f}"
        table.add_row(*figures, *map(Text, (each.id, each.question, each.answer)))
    return table


def _verdict(answer: Answer, threshold: Threshold | None, directory: Path) -> str:
    margin = f"Margin to another answer: {answer.margin:.2f} nats"
    if threshold is None:
        return f"{margin}. 'dcm calibrate {directory}' finds from where on no memory fits."
    told = f"{threshold.false_answers:.1%} of {threshold.questions} unrelated questions reach it"
    return f"{margin}; {threshold.margin:.2f} is asked for, and {told}."


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        asked = f"{path} cannot be read"
        raise DcmError(asked, str(error), "Give a text file with a question a line") from error
    return [line.strip() for line in lines if line.strip()]
