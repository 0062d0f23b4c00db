"""Addresses of MLflow stores: what they mean, and how to look at what is there."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from dcm import DcmError, UsageError, mask_secrets

LOCAL = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"


def check(uri: str) -> None:
    """Refuse what cannot be an address.

    Raises:
        UsageError: it is none.
    """
    asked = f"{mask_secrets(uri)!r} is no address of an MLflow store"
    do = f"Use {LOCAL} for a file in the current folder, or a server's http://host:5000"
    if uri.startswith("sqlite:") and (not uri.startswith(_SQLITE) or uri == _SQLITE):
        there = "A SQLite address has three slashes and a relative path, or four and an absolute"
        raise UsageError(asked, there, do)
    if uri not in ("databricks", "databricks-uc") and not re.match(r"[a-z][a-z0-9+.-]+:", uri):
        raise UsageError(asked, "It has no scheme such as sqlite: or http:", do)


def resolve(uri: str | None) -> str:
    """The address asked for, or else the environment's, or else a SQLite file here; a SQLite
    path is made absolute, so that a later change of folder does not matter.

    Raises:
        UsageError: it is no address.
        DcmError: it is a SQLite file that cannot be used.
    """
    found = uri or os.environ.get("MLFLOW_TRACKING_URI") or LOCAL
    check(found)
    file = sqlite_file(found)
    if file is None:
        return found
    _check_usable(file)
    _, mark, options = found.partition("?")
    return f"{_SQLITE}{file}{mark}{options}"


def place(uri: str | None) -> str:
    """Where runs are written to: an address, or the files of a SQLite store."""
    found = uri or os.environ.get("MLFLOW_TRACKING_URI") or LOCAL
    file = sqlite_file(found)
    if file is None:
        return mask_secrets(found)
    return f"{file.name} and mlartifacts in {file.parent}"


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of a SQLite database; None where the store is something else."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def artifact_folder(uri: str, experiment: str) -> str | None:
    """Where a new experiment of a SQLite store keeps its files: beside the database, where
    MLflow's own choice is the folder in which the first run happens to start. None leaves it
    to the server.
    """
    file = sqlite_file(uri)
    if file is None:
        return None
    return (file.parent / "mlartifacts" / quote(experiment, safe=" ")).as_uri()


def hint(uri: str) -> str:
    """How to look at what is tracked at a resolved address."""
    if uri.startswith(("http://", "https://")):
        return f"open {mask_secrets(uri)}"
    file = sqlite_file(uri)
    if file is not None and file.parent == Path.cwd() and "?" not in uri:
        uri = f"{_SQLITE}{file.name}"
    return f"mlflow ui --backend-store-uri {shlex.quote(mask_secrets(uri))}"


def _check_usable(file: Path) -> None:
    # MLflow tries for two minutes to open a database that it cannot open.
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA schema_version")
        if not os.access(file, os.W_OK):
            raise PermissionError(f"{file} is not writable")
    except (OSError, sqlite3.Error) as error:
        asked = f"the MLflow database {file} cannot be used"
        do = "Name another file in the tracker's field 'uri' or in MLFLOW_TRACKING_URI"
        raise DcmError(asked, str(error), do) from error
