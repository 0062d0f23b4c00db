"""What the fields of components are made with: checks whose messages a reader can act on,
components that may be given by name, and a `repr` that can be pasted.

A check is a validator of `attrs.field`, a component's converter is named after its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from dcm.errors import UsageError
from dcm.plugins import Plugins, find, installed, interface

if TYPE_CHECKING:
    from dcm.criterion import ConvergenceCriterion
    from dcm.dataset import TaskDataset
    from dcm.evaluator import Evaluator
    from dcm.generator import Generator
    from dcm.objective import Objective
    from dcm.optimizer import Optimizer

Check = Callable[[Any, Any, Any], None]
"""A validator of attrs: instance, field, value."""


def one_of(*choices: Any) -> Check:
    """Only these values.

    Raises:
        ValueError: by the check.
    """

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not any(value is each or (value == each and each is not None) for each in choices):
            names = [repr(each) for each in choices]
            listed = " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            raise ValueError(f"{field.alias} must be {listed}, not {value!r:.80}")

    return check


def whole(least: int | None = None, most: int | None = None, *, optional: bool = False) -> Check:
    """A whole number, of at least `least` and at most `most` where they are given; None too where
    it is optional.

    Raises:
        ValueError: by the check.
    """

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not fits or (least is not None and value < least) or (most is not None and value > most):
            wanted = "a whole number" if least is None else f"a whole number of at least {least}"
            wanted += "" if most is None or not fits or value <= most else f" and at most {most}"
            wanted += " or None" if optional else ""
            raise ValueError(f"{field.alias} must be {wanted}, not {value!r:.80}")

    return check


def generator(value: Generator | str) -> Generator:
    """The generator, or the one that a name stands for, with its defaults.

    Raises:
        UsageError: it is neither, or the name needs fields. So for the other kinds.
    """
    return named("generator", value)  # type: ignore[no-any-return]


def dataset(value: TaskDataset | str) -> TaskDataset:
    """The data set, or the one that a name stands for."""
    return named("dataset", value)  # type: ignore[no-any-return]


def objective(value: Objective | str) -> Objective:
    """The objective, or the one that a name stands for."""
    return named("objective", value)  # type: ignore[no-any-return]


def optimizer(value: Optimizer | str) -> Optimizer:
    """The optimiser, or the one that a name stands for."""
    return named("optimizer", value)  # type: ignore[no-any-return]


def criterion(value: ConvergenceCriterion | str) -> ConvergenceCriterion:
    """The criterion, or the one that a name stands for."""
    return named("criterion", value)  # type: ignore[no-any-return]


def evaluators(values: Iterable[Evaluator | str] | Evaluator | str) -> tuple[Evaluator, ...]:
    """Evaluators, or those that names stand for; one may stand for itself."""
    listed = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else values
    return tuple(named("evaluator", each) for each in listed)


def pasteable(component: Any) -> str:
    """A component as Python text that makes it again: for `__repr__` of a class whose fields have
    aliases, which attrs does not write."""
    cls = type(component)
    values = (
        f"{field.alias}={getattr(component, field.name)!r}"
        for field in attrs.fields(cls)
        if field.init
    )
    return f"{cls.__qualname__}({', '.join(values)})"


def named(kind: str, value: Any) -> Any:
    """The component of a kind, or the one that a name stands for."""
    wanted = interface(kind)
    if isinstance(value, wanted):
        return value
    article = "an" if kind[0] in "aeiou" else "a"
    if isinstance(value, str):
        cls = find(kind, value)
        try:
            return cls()
        except (TypeError, ValueError) as error:
            asked = f"{kind} {value!r} cannot stand for itself: it needs fields"
            do = f"Give them: dcm.find({kind!r}, {value!r})(...)"
            raise UsageError(asked, str(error.args[0]) if error.args else "", do) from error
    asked = f"{article} {kind} is expected, not {value!r:.80}"
    if isinstance(value, type) and issubclass(value, wanted):
        asked = f"{article} {kind} is expected, not its class"
        raise UsageError(asked, "", f"Call it: {value.__name__}(...)")
    pairs = kind == "dataset" and isinstance(value, list | tuple | dict)
    names = _names(kind, installed())
    do = "Write dcm.pairs(...) around it" if pairs else f"Give one or a name: {names}"
    raise UsageError(asked, "", do)


def _names(kind: str, plugins: Plugins) -> str:
    return ", ".join(dict.fromkeys(each.name for each in plugins.all(kind)))
