"""What every component promises, of whatever kind."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings

from dcm.plugins import Plugins, installed
from dcm.serial import build, describe

FEW = settings(
    max_examples=20,
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # which is slow
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # components are frozen: one serves all examples
        HealthCheck.differing_executors,  # contracts are inherited by many classes
        HealthCheck.too_slow,
    ],
)


class ComponentContract:
    """A component is a frozen attrs class with documented fields and a serial form.

    Attributes:
        kind: the kind that the component must be registered as.
        covers: "kind/name" that it must be registered as; empty for whatever it is.
    """

    kind: ClassVar[str]
    covers: ClassVar[str] = ""

    @pytest.fixture
    def component(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def plugins(self) -> Plugins:
        """Where the component is registered; override for one that is not installed."""
        return installed()

    def test_it_is_registered(self, component: Any, plugins: Plugins) -> None:
        found = describe(component, plugins)
        assert found["kind"] == self.kind
        assert self.covers in ("", f"{found['kind']}/{found['name']}")
        assert plugins.find(found["kind"], f"{found['distribution']}/{found['name']}") is type(
            component
        )

    def test_it_is_a_frozen_attrs_class(self, component: Any) -> None:
        assert attrs.has(type(component))
        for field in attrs.fields(type(component)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(component, field.name, None)

    def test_its_fields_are_documented(self, component: Any) -> None:
        names = [field.alias for field in attrs.fields(type(component)) if field.init]
        text = type(component).__doc__ or ""
        missing = [name for name in names if not re.search(rf"^\s+{name}:", text, re.MULTILINE)]
        assert not missing, f"the docstring of {type(component).__name__} says nothing of {missing}"

    def test_build_gives_back_what_describe_was_given(
        self, component: Any, plugins: Plugins
    ) -> None:
        written = json.dumps(describe(component, plugins), allow_nan=False)
        again = build(json.loads(written), plugins)
        assert type(again) is type(component)
        assert again == component
        assert describe(again, plugins) == describe(component, plugins)
