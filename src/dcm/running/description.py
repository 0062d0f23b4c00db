"""The description of a run, experiment.json: reading it, sealing it, comparing it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dcm.errors import RunDirectoryError
from dcm.running.disk import on_disk, open_file
from dcm.running.fingerprints import of_value

CHOSEN, FINGERPRINTS = "chosen", "fingerprints"
ORIGIN = ("versions", "git_commit", CHOSEN, FINGERPRINTS)
"""What of a description says where a run comes from rather than what it does."""

_MISSING = object()


def read_description(path: Path) -> dict[str, Any]:
    """What an experiment.json holds.

    Raises:
        RunDirectoryError: it is no JSON object.
        DcmError: it cannot be read.
    """
    asked, do = f"{path} is damaged", "Mend it, or begin the run anew in another folder"
    with on_disk(path, "read"), open_file(path) as file:
        data = file.read()
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        there = f"It is no UTF-8 text (byte {error.start})"
        raise RunDirectoryError(asked, there, do) from error
    except json.JSONDecodeError as error:
        asked = f"{path}:{error.lineno}: the file is damaged"
        raise RunDirectoryError(asked, f"It is no JSON ({error.msg})", do) from error
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(asked, f"It is no JSON ({error})", do) from error
    if not isinstance(value, dict):
        raise RunDirectoryError(asked, "It is no JSON object", do)
    return value


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description with a fingerprint of each of its fields, which shows later changes."""
    fields = {key: of_value(value) for key, value in description.items() if key not in ORIGIN}
    given = description.get(FINGERPRINTS, {})
    return {**description, FINGERPRINTS: {**given, "fields": fields}}


def check_unchanged(path: Path, description: Mapping[str, Any]) -> None:
    """Refuse an experiment.json that was edited after the run began.

    Raises:
        RunDirectoryError: which fields were.
    """
    found = description.get(FINGERPRINTS)
    fields = found.get("fields") if isinstance(found, dict) else None
    do = "Undo the change, or begin a run of its own in another folder"
    if not isinstance(fields, dict):
        there = "Its experiment.json has no fingerprints, as those of earlier versions of dcm"
        raise RunDirectoryError(f"{path} cannot go on", there, "Begin it anew in another folder")
    own = sealed(description)[FINGERPRINTS]["fields"]
    changed = sorted(key for key in {*own, *fields} if own.get(key) != fields.get(key))
    if changed:
        asked = f"{path / 'experiment.json'} was changed after the run began"
        raise RunDirectoryError(asked, f"Changed: {', '.join(changed)}", do)


def check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Refuse another experiment; True if only paths differ, which fingerprints judge.

    Raises:
        RunDirectoryError: the first field that differs.
    """
    moved = False
    for key in sorted({*before, *now} - set(ORIGIN)):
        for place, was, is_now in differences(key, before.get(key), now.get(key)):
            if _is_path(was) and _is_path(is_now):
                moved = True
                continue
            there = f"{place} was {_short(was)}, now it is {_short(is_now)}"
            do = "Repeat its options, or choose another folder"
            raise RunDirectoryError(f"{path} is a run of another experiment", there, do)
    return moved


def differences(place: str, was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        # `params` is left out of the names, as `--set` leaves it out; and whose version of a
        # component it is belongs to the versions, which may differ.
        for key in sorted({*was, *now} - {"version"}):
            name = place if key == "params" else f"{place}.{key}"
            yield from differences(name, was.get(key), now.get(key))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, pair in enumerate(zip(was, now, strict=True)):
            yield from differences(f"{place}.{number}", *pair)
    elif was != now or type(was) is not type(now):
        yield place, was, now


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
