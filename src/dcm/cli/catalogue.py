"""`dcm list` and `dcm show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcm.cli.fields import Field, about, field_docs, fields_of
from dcm.errors import DcmError, UsageError, did_you_mean
from dcm.hooks import KINDS
from dcm.optimizer import Optimizer
from dcm.plugins import Registered, installed
from dcm.serial import is_description

OURS = "dynamic-context-memory"
SLOTS = 32  # the default of an experiment


def print_list(kind: str | None, as_json: bool) -> None:
    """Print the components of a kind, or of all, and the plugins that could not be used.

    Raises:
        UsageError: there is no such kind.
    """
    plugins = installed()
    kind = None if kind is None else _singular(kind)
    components = plugins.all(kind)
    if as_json:
        listed = [
            {
                "kind": each.kind,
                "name": each.name,
                "summary": each.component.summary,
                "distribution": each.distribution,
                "version": each.version,
            }
            for each in components
        ]
        problems = [
            {"distribution": each.distribution, "plugin": each.plugin, "cause": each.cause}
            for each in plugins.problems
        ]
        _print_json({"components": listed, "problems": problems})
        return
    console = Console(highlight=False)
    names = _columns(max((len(each.name) for each in components), default=0))
    for each_kind in KINDS if kind is None else [kind]:
        own = [each for each in components if each.kind == each_kind]
        if own:
            names.add_row(Text(each_kind, style="bold"))
        for each in own:
            origin = "" if each.distribution == OURS else f" ({each.distribution})"
            names.add_row(f"  {each.name}", Text(each.component.summary + origin))
    console.print(names)
    for problem in plugins.problems:
        line = f"Problem: {problem.plugin} of {problem.distribution}: {problem.cause}"
        console.print(Text(f"{line} (run 'dcm check')", style="red"), soft_wrap=True)


def print_component(kind: str, name: str | None, as_json: bool) -> None:
    """Print what a component does, its fields and how to set them.

    Args:
        kind: its kind or, without a name, its name.
        name: its name.
        as_json: print JSON.

    Raises:
        UsageError: there is no such kind or name, or a name alone that several kinds have.
        PluginError: it cannot be imported.
    """
    found = _named(kind) if name is None else installed().registered(_singular(kind), name)
    kind, cls = found.kind, found.load()
    fields, docs = fields_of(cls), field_docs(cls)
    if as_json:
        _print_json(
            {
                "kind": kind,
                "name": found.name,
                "summary": found.component.summary,
                "about": about(cls),
                "target": found.component.target,
                "distribution": found.distribution,
                "version": found.version,
                "fields": [_field_form(field, docs) for field in fields.values()],
                "chosen": {"slots": SLOTS, **_chosen(cls)},
                "example": _example(found, cls, fields),
            }
        )
        return
    console = Console(highlight=False)
    console.print(Text(f"{kind} {found.name}", style="bold"))
    console.print(Text(about(cls)))
    console.print()
    if fields:
        console.print(_field_table(fields, docs))
        console.print()
    if chosen := _chosen(cls):
        values = ", ".join(f"{field} {value:.4g}" for field, value in chosen.items())
        console.print(Text(f"Chosen   {values} (with {SLOTS} slots)"), soft_wrap=True)
    origin = f"{found.component.target} of {found.distribution} {found.version}"
    console.print(Text(f"From     {origin}"), soft_wrap=True)
    console.print(Text(f"Example  {_example(found, cls, fields)}"), soft_wrap=True)


def _chosen(cls: type) -> dict[str, float]:
    """What an optimiser chooses by itself with the default number of slots."""
    if not issubclass(cls, Optimizer) or not _builds(cls):
        return {}
    return dict(cls().chosen(SLOTS))


def _singular(kind: str) -> str:
    """The kind that a word names: itself or its plural."""
    kind = kind.lower()
    plurals = {f"{each}s": each for each in KINDS} | {"criteria": "criterion"}
    return plurals.get(kind, kind)


def _named(name: str) -> Registered:
    """The only component of this name, of whatever kind."""
    known = installed().all()
    found = [each for each in known if name in (each.name, each.full_name)]
    if len({each.kind for each in found}) == 1:
        return installed().registered(found[0].kind, name)
    if found:
        kinds = " or ".join(each.kind for each in found)
        raise UsageError(f"{name!r} is of several kinds", "", f"Say which: {kinds}")
    if _singular(name) in KINDS:
        do = f"Write dcm show {_singular(name)} NAME, or dcm list {_singular(name)}"
        raise UsageError("the name of a component is missing", f"{name!r} is a kind", do)
    do = did_you_mean(name, {each.name for each in known})
    raise UsageError(f"there is no component {name!r}", "", do)


def _field_table(fields: dict[str, Field], docs: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("field", no_wrap=True)
    table.add_column("type", max_width=20, overflow="fold")
    table.add_column("default", max_width=16, overflow="fold")
    table.add_column("meaning", ratio=1)
    for name, field in fields.items():
        default = "required" if field.required else _short(field.default_form())
        table.add_row(name, Text(_type(field)), Text(default), Text(docs.get(name, "")))
    return table


def _type(field: Field) -> str:
    """A field's type; of components their kind, whose names `dcm list` gives."""
    if field.kind is None:
        return field.annotation
    return f"{field.kind} list" if field.many else field.kind


def _columns(width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=width + 2)
    table.add_column()
    return table


def _field_form(field: Field, docs: dict[str, str]) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": field.name,
        "type": field.annotation,
        "required": field.required,
        "meaning": docs.get(field.name, ""),
    }
    return form if field.required else {**form, "default": field.default_form()}


def _example(found: Registered, cls: type, fields: dict[str, Field]) -> str:
    """A command that uses the component and sets what it needs, or else its first field."""
    kind = found.kind
    required = [field for field in fields.values() if field.required]
    chosen = required or _alternatives(cls, fields)[:1] or [*fields.values()][:1]
    own = "evaluators.0" if kind == "evaluator" else kind
    choice = f"--set {kind}={found.name}" if kind == "tracker" else f"--{kind} {found.name}"
    values = [f"--set {own}.{field.name}={_example_value(field)}" for field in chosen]
    return " ".join(["dcm run", choice, *values])


def _alternatives(cls: type, fields: dict[str, Field]) -> list[Field]:
    """The text fields of which a class needs one, though none is required by itself."""
    return [] if _builds(cls) else [each for each in fields.values() if _builds(cls, each.name)]


def _builds(cls: type, *names: str) -> bool:
    try:
        cls(**dict.fromkeys(names, "text"))
    except (DcmError, TypeError, ValueError):
        return False
    return True


def _example_value(field: Field) -> str:
    default = None if field.required else field.default_form()
    if default is None:
        value = "NAME" if field.kind else "VALUE"
        return f"'[\"{value}\"]'" if field.many else value
    return _short(default)


def _short(value: Any) -> str:
    """A field's value as `--set` takes it, components by name."""
    if is_description(value):
        return str(value["name"])
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_short, value))}]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
