"""reporting: an error is one clear message on stderr, and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import typer

from dcm.errors import DcmError
from dcm.secrets import mask_secrets

INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT and + SIGTERM, as shells count


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as batch systems do."""


@contextmanager
def reporting(debug: bool, how_to_go_on: Callable[[], str] = str) -> Iterator[None]:
    """Turn what a command raises into a message and an exit status.

    Args:
        debug: show the traceback too.
        how_to_go_on: asked after a failure; a sentence, or nothing where nothing was begun.
    """
    try:
        with _sigterm_raises():
            yield
    except typer.Exit:
        raise
    except BrokenPipeError:
        # Whoever read the output has left; what was asked is done.
        _drop_output()
        return
    except KeyboardInterrupt as error:
        ended = isinstance(error, Terminated)
        status = TERMINATED if ended else INTERRUPTED
        word = "Ended by SIGTERM." if ended else "Interrupted."
        lines = [f"{word} {how_to_go_on() or 'Nothing was written.'}"]
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
    with suppress(OSError):
        if debug:
            typer.echo(mask_secrets(traceback.format_exc()), err=True)
        typer.echo(mask_secrets(" ".join(filter(None, lines))), err=True)
    raise typer.Exit(status)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Within it SIGTERM ends what is done as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _drop_output() -> None:
    """Let nothing that is still to be written fail when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _one_line(text: str) -> str:
    return " ".join(text.split())
