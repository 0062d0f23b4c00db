"""reporting: an error is one clear message on stderr, and an exit status."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from dcm.errors import DcmError

INTERRUPTED = 130  # 128 + SIGINT, as shells count


@contextmanager
def reporting(debug: bool, how_to_go_on: Callable[[], str] = str) -> Iterator[None]:
    """Turn what a command raises into a message and an exit status.

    Args:
        debug: show the traceback too.
        how_to_go_on: asked after a failure; a sentence, or nothing where nothing was begun.
    """
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        status = INTERRUPTED
        lines = [f"Interrupted. {how_to_go_on() or 'Nothing was written.'}"]
    except DcmError as error:
        status = error.exit_status
        lines = [f"Error: {_one_line(str(error))}"]
        if status == 1:
            lines.append(how_to_go_on())
    except Exception as error:  # noqa: BLE001 - a traceback is for those who ask for it
        status = 1
        lines = [f"Error: {type(error).__name__}: {_one_line(str(error))}"]
        if not debug:
            lines.append("Run again with --debug to see where.")
        lines.append(how_to_go_on())
    else:
        return
    if debug:
        typer.echo(traceback.format_exc(), err=True)
    typer.echo(" ".join(filter(None, lines)), err=True)
    raise typer.Exit(status)


def _one_line(text: str) -> str:
    return " ".join(text.split())
