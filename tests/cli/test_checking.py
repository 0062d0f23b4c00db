"""`dcm check`: what is wrong with plugins, all of it at once."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import dcm
from dcm import Component, Example, Plugins, TaskDataset
from dcm.cli.checking import problems


class Base(TaskDataset):
    """A data set without examples."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Example:
        raise IndexError(index)


@attrs.frozen
class Good(Base):
    """All is well.

    Attributes:
        limit: how many.
    """

    limit: int = 0


@attrs.frozen
class Undocumented(Base):
    """Says nothing of its field."""

    limit: int = 0


@attrs.frozen
class Silent(Base):
    limit: int = 0


@attrs.define
class Loose(Base):
    """Can be changed.

    Attributes:
        limit: how many.
    """

    limit: int = 0


class Plain(Base):
    """No attrs class."""


@attrs.frozen
class Unfinished(TaskDataset):
    """Has no examples."""


@attrs.frozen
class Lists(Base):
    """Holds a list, which comes back as a tuple.

    Attributes:
        names: some.
    """

    names: list[str] = attrs.field(factory=list)


@attrs.frozen
class Opaque(Base):
    """Holds what JSON cannot.

    Attributes:
        thing: one.
    """

    thing: object = attrs.field(factory=object)


@attrs.frozen
class Needy(Base):
    """Needs a field, so that it cannot be built here.

    Attributes:
        path: where.
    """

    path: str


def providing(*targets: str, distribution: str = "theirs") -> Plugins:
    """A set of plugins with these data sets."""
    plugins = Plugins()
    plugins.add(provider(*targets), distribution)
    return plugins


def provider(*targets: str) -> Any:
    class Provider:
        @dcm.hookimpl
        def dcm_datasets(self):
            return [
                Component(f"set-{number}", target, "a set") for number, target in enumerate(targets)
            ]

    return Provider()


@pytest.mark.parametrize("cls", [Good, Needy])
def test_a_good_component_has_no_problem(cls: type) -> None:
    assert problems(providing(f"{__name__}:{cls.__name__}")) == {}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("dcm_no_such_module:Set", "ModuleNotFoundError"),
        (f"{__name__}:Missing", "AttributeError"),
        ("dcm.testing.doubles:TinyGenerator", "is no TaskDataset"),
        (f"{__name__}:Undocumented", "does not tell of limit"),
        (f"{__name__}:Silent", "has no docstring"),
        (f"{__name__}:Loose", "is not frozen"),
        (f"{__name__}:Plain", "is no attrs class"),
        (f"{__name__}:Unfinished", "does not implement __getitem__, __len__"),
        (f"{__name__}:Lists", "its serial form gives Lists(names=())"),
        (f"{__name__}:Opaque", "its serial form fails with TypeError"),
    ],
)
def test_what_is_wrong_is_told(target: str, told: str) -> None:
    (lines,) = problems(providing(target)).values()
    assert lines[0].startswith("dataset set-0: ")
    assert told in " ".join(lines)


def test_all_problems_are_told_at_once_by_distribution() -> None:
    plugins = providing(f"{__name__}:Loose", f"{__name__}:Good", f"{__name__}:Plain")
    plugins.add(provider("away:Away"), "others")
    plugins.add(object(), "broken", name="nothing")
    found = problems(plugins)
    assert list(found) == ["broken", "others", "theirs"]
    assert found["broken"][0].startswith("plugin nothing: ")
    # Two distributions have a set-0, which both are told.
    assert [line.split(": ")[0] for line in found["others"]] == ["dataset set-0"] * 2
    assert "'others/set-0'" in found["others"][1]
    assert [line.split(": ")[0] for line in found["theirs"]] == [
        "dataset set-0",
        "dataset set-0",
        "dataset set-2",
    ]


def test_the_installed_plugins_are_all_good(command, plugins: Plugins) -> None:
    done = command("check")
    assert done.exit_code == 0, done.stdout
    count = len(plugins.all())
    assert done.stdout == f"{count} components of 2 distributions: all good\n"


def test_a_problem_is_exit_status_1(command, plugins: Plugins) -> None:
    plugins.add(provider(f"{__name__}:Loose"), "theirs")
    done = command("check")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "theirs:"
    assert lines[1] == "  dataset set-0: Loose is not frozen"
    assert lines[-1].endswith(": 1 problem")
