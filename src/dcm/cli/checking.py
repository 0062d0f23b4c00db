"""`dcm check`: whether every component keeps to what a component is."""

from __future__ import annotations

from collections import Counter

import attrs

from dcm.cli.fields import field_docs, fields_of
from dcm.errors import DcmError
from dcm.plugins import Plugins, Registered, installed
from dcm.serial import build, describe


def print_problems() -> int:
    """Print the problems of the installed plugins; how many there are."""
    plugins = installed()
    found = problems(plugins)
    for distribution, lines in found.items():
        print(f"{distribution}:")
        for line in lines:
            print(f"  {line}")
    count = sum(map(len, found.values()))
    components = plugins.all()
    distributions = len({each.distribution for each in components})
    looked_at = f"{_count(len(components), 'component')} of {_count(distributions, 'distribution')}"
    print(f"{looked_at}: {_count(count, 'problem') if count else 'all good'}")
    return count


def problems(plugins: Plugins) -> dict[str, list[str]]:
    """distribution -> what is wrong with its plugins and components, a line each."""
    found: dict[str, list[str]] = {}
    for problem in plugins.problems:
        line = f"plugin {problem.plugin}: {problem.cause}"
        found.setdefault(problem.distribution, []).append(_one_line(line))
    owners = Counter((each.kind, each.name) for each in plugins.all())
    for each in plugins.all():
        lines = _component_problems(each, plugins)
        if owners[each.kind, each.name] > 1:
            lines.append(f"the name is taken twice; {each.full_name!r} is not ambiguous")
        for line in lines:
            own = found.setdefault(each.distribution, [])
            own.append(_one_line(f"{each.kind} {each.name}: {line}"))
    return dict(sorted(found.items()))


def _component_problems(registered: Registered, plugins: Plugins) -> list[str]:
    try:
        cls = registered.load()
    except DcmError as error:
        return [str(error)]
    found = []
    if not registered.component.summary.strip():
        found.append("it has no summary")
    if not (cls.__doc__ or "").strip():
        found.append(f"{cls.__qualname__} has no docstring")
    if getattr(cls, "__abstractmethods__", None):
        return [*found, f"it does not implement {', '.join(sorted(cls.__abstractmethods__))}"]  # type: ignore[attr-defined]
    if not attrs.has(cls):
        return [*found, f"{cls.__qualname__} is no attrs class"]
    docs, fields = field_docs(cls), fields_of(cls)
    undocumented = [name for name in fields if name not in docs]
    if undocumented:
        found.append(f"its docstring does not tell of {', '.join(undocumented)}")
    if not _is_frozen(cls):
        found.append(f"{cls.__qualname__} is not frozen")
    return [*found, *_round_trip_problems(cls, plugins)]


def _is_frozen(cls: type) -> bool:
    """Whether fields cannot be set anew; true of a class without any."""
    bare: object = object.__new__(cls)
    for field in attrs.fields(cls):
        try:
            setattr(bare, field.name, None)
        except attrs.exceptions.FrozenError:
            continue
        except Exception:  # noqa: BLE001 - a validator ran, so it can be set
            return False
        return False
    return True


def _round_trip_problems(cls: type, plugins: Plugins) -> list[str]:
    try:
        component = cls()
    except (DcmError, TypeError, ValueError):  # it needs fields
        return []
    except Exception as error:  # noqa: BLE001 - whatever a plugin may raise
        return [f"building it fails with {type(error).__name__}: {error}"]
    try:
        again = build(describe(component, plugins), plugins)
    except Exception as error:  # noqa: BLE001 - whatever a plugin may raise
        return [f"its serial form fails with {type(error).__name__}: {error}"]
    return [] if again == component else [f"its serial form gives {again!r} for {component!r}"]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _one_line(text: str) -> str:
    return " ".join(text.split())
