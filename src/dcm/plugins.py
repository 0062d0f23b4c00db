"""Plugins: finds the components that installed distributions announce."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import attrs
import pluggy

from dcm.errors import DcmError, PluginError, UsageError, did_you_mean
from dcm.hooks import KINDS, Component, Hooks

GROUP = "dcm"


@attrs.frozen
class Registered:
    """A component and who provides it."""

    kind: str
    component: Component
    distribution: str
    version: str

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def full_name(self) -> str:
        """`distribution/name`, which is never ambiguous."""
        return f"{self.distribution}/{self.name}"

    def load(self) -> type:
        """Import the class.

        Raises:
            PluginError: the import fails, or the class is not of the announced kind.
        """
        module, _, name = self.component.target.partition(":")
        asked = f"{self.kind} {self.name!r} of {self.distribution} cannot be loaded"
        try:
            found = getattr(importlib.import_module(module), name)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            cause = f"{type(error).__name__}: {error}"
            do = "Install what it needs" if isinstance(error, ImportError) else "Mend the plugin"
            raise PluginError(asked, f"{self.component.target} fails with {cause}", do) from error
        if not (isinstance(found, type) and issubclass(found, interface(self.kind))):
            there = f"{self.component.target} is no {interface(self.kind).__name__}"
            raise PluginError(asked, there, "Mend the plugin")
        return found


@attrs.frozen
class Problem:
    """A plugin that could not be used, and why."""

    distribution: str
    plugin: str
    cause: str


def interface(kind: str) -> type:
    """The abstract class of a kind."""
    module, _, name = KINDS[known_kind(kind)][1].partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def known_kind(kind: str) -> str:
    """`kind` itself.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}", f"There are {', '.join(KINDS)}", "")
    return kind


class Plugins:
    """The components of a set of plugins.

    Each plugin is loaded and asked by itself, so that a broken one is a `Problem` in `problems`
    and does not stop the others.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._registered: list[Registered] = []

    @classmethod
    def installed(cls) -> Plugins:
        """The plugins that installed distributions announce in the entry-point group `dcm`."""
        plugins = cls()
        for entry_point in sorted(entry_points(group=GROUP), key=_order):
            plugins.add_entry_point(entry_point)
        return plugins

    def add_entry_point(self, entry_point: EntryPoint) -> None:
        """Load one entry point; what goes wrong becomes a `Problem`."""
        distribution, version = _owner(entry_point)
        try:
            module = entry_point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way
            cause = f"import of {entry_point.value} fails with {type(error).__name__}: {error}"
            self.problems.append(Problem(distribution, entry_point.name, cause))
            return
        self.add(module, distribution, version, entry_point.name)

    def add(
        self, plugin: ModuleType | object, distribution: str, version: str = "", name: str = ""
    ) -> None:
        """Ask one plugin, a module or object with hooks, for its components."""
        # A manager of its own: a plugin must not be able to break the next one's.
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)
        found: list[Registered] = []
        try:
            manager.register(plugin)
            _check_hooks(manager)
            for kind, (hook, _) in KINDS.items():
                for component in _announced(manager, hook):
                    new = Registered(kind, component, distribution, version)
                    if any(_same_name(new, each) for each in (*self._registered, *found)):
                        raise PluginError(f"{hook} gives the name {component.name!r} twice")
                    found.append(new)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way
            ours = isinstance(error, DcmError)
            cause = str(error) if ours else f"{type(error).__name__}: {error}"
            self.problems.append(Problem(distribution, name, cause))
            return
        self._registered.extend(found)

    def all(self, kind: str | None = None) -> list[Registered]:
        """Every component, or those of one kind, by kind and name."""
        if kind is not None:
            known_kind(kind)
        order = list(KINDS)
        chosen = [each for each in self._registered if kind in (None, each.kind)]
        return sorted(chosen, key=lambda r: (order.index(r.kind), r.name, r.distribution))

    def registered(self, kind: str, name: str) -> Registered:
        """The component `name`, or `distribution/name`, of a kind.

        Raises:
            UsageError: there is none.
            PluginError: several distributions provide it.
        """
        candidates = self.all(kind)
        found = [each for each in candidates if name in (each.name, each.full_name)]
        if not found:
            raise UsageError(
                f"there is no {kind} {name!r}",
                self._problems_note(),
                did_you_mean(name, {each.name for each in candidates}),
            )
        if len(found) > 1:
            owners = " and ".join(each.distribution for each in found)
            choices = " or ".join(repr(each.full_name) for each in found)
            raise PluginError(f"{kind} {name!r} is provided by {owners}", "", f"Ask for {choices}")
        return found[0]

    def find(self, kind: str, name: str) -> type:
        """The class of the component `name`, or `distribution/name`, of a kind.

        Raises:
            UsageError: there is none.
            PluginError: several distributions provide it, or it cannot be imported.
        """
        return self.registered(kind, name).load()

    def of(self, component: Any) -> Registered | None:
        """Who registered the class of `component`, if anyone did."""
        target = f"{type(component).__module__}:{type(component).__qualname__}"
        for each in self._registered:
            if each.component.target == target:
                return each
        return next((each for each in self._registered if _is_class(each, type(component))), None)

    def _problems_note(self) -> str:
        if not self.problems:
            return ""
        broken = ", ".join(sorted({problem.distribution for problem in self.problems}))
        return f"Plugins of {broken} could not be loaded ('dcm check' says why)"


def _is_class(registered: Registered, cls: type) -> bool:
    # A target may name a re-export, whose class says another module than the target does.
    module, _, name = registered.component.target.partition(":")
    if name != cls.__qualname__ and module not in sys.modules:
        return False
    try:
        return registered.load() is cls
    except PluginError:
        return False


def _same_name(one: Registered, other: Registered) -> bool:
    return (one.kind, one.full_name) == (other.kind, other.full_name)


def _announced(manager: pluggy.PluginManager, hook: str) -> Iterator[Component]:
    """What the plugin's implementation of a hook gives, if it has one."""
    caller = getattr(manager.hook, hook)
    results = caller()
    if len(results) < len(caller.get_hookimpls()):  # pluggy passes over a None
        raise PluginError(f"{hook} gives None", "", "Return an iterable of Components")
    for announced in results:
        if not isinstance(announced, Iterable):
            there = f"It gives {announced!r}"
            raise PluginError(f"{hook} must give an iterable of Components", there)
        for component in announced:
            if not isinstance(component, Component):
                raise PluginError(f"{hook} gives {component!r}, which is no Component")
            yield component


def _check_hooks(manager: pluggy.PluginManager) -> None:
    """Refuse a plugin without hooks, and a hook that no hook is specified for."""
    known = [hook for hook, _ in KINDS.values()]
    (plugin,) = manager.get_plugins()
    implemented = [caller.name for caller in manager.get_hookcallers(plugin) or ()]
    unmarked = [
        name for name in known if callable(getattr(plugin, name, None)) and name not in implemented
    ]
    if unmarked or not implemented:
        asked = f"{', '.join(unmarked)} is no hook" if unmarked else "there is no hook"
        raise PluginError(asked, "", "Mark hooks with @dcm.hookimpl")
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        misspelt = [name for name in implemented if name not in known]
        advice = " ".join(did_you_mean(name, known) for name in misspelt)
        raise PluginError(f"unknown hook {', '.join(misspelt)}", "", advice) from error


def _order(entry_point: EntryPoint) -> tuple[str, str]:
    return (_owner(entry_point)[0], entry_point.name)


def _owner(entry_point: EntryPoint) -> tuple[str, str]:
    """Name and version of an entry point's distribution."""
    try:
        metadata: Any = entry_point.dist.metadata if entry_point.dist else {}
        return metadata["Name"] or "unknown", metadata["Version"] or ""
    except Exception:  # noqa: BLE001 - what an interrupted uninstall leaves has no metadata
        return "unknown", ""


@cache
def installed() -> Plugins:
    """The installed plugins of this process, looked up at first use."""
    return Plugins.installed()


def pairs(pairs: Any) -> Any:
    """A data set of question-answer pairs that are at hand: `dcm.pairs([("2+2?", "4"), ...])`.

    Args:
        pairs: (question, answer) texts, or question -> answer.

    Raises:
        ValueError: something else.
    """
    return installed().find("dataset", "pairs")(pairs)


def find(kind: str, name: str) -> Any:
    """The class of the installed component `name`, or `distribution/name`, of a kind.

    Raises:
        UsageError: there is none.
        PluginError: several distributions provide it, or it cannot be imported.
    """
    return installed().find(kind, name)
