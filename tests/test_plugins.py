"""Plugins of others: found when they are whole, reported when they are not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

import dcm
from dcm import Component, PluginError, UsageError
from dcm.hooks import KINDS
from dcm.plugins import Plugins, Problem
from dcm.testing.doubles import QuadraticGenerator, QuadraticObjective, ToyTask

OURS = "dynamic-context-memory"
WEATHER = '''
    import attrs
    from dcm import Example, TaskDataset

    @attrs.frozen
    class Weather(TaskDataset):
        """How warm it is.

        Attributes:
            days: how many days.
        """

        days: int = attrs.field(default=3, validator=attrs.validators.ge(1))

        def __len__(self):
            return self.days

        def __getitem__(self, index):
            if not 0 <= index < self.days:
                raise IndexError(index)
            return Example(f"day-{index}", "How warm is it?", f"{index}.5")
'''


def hooks(body: str) -> str:
    """The module of a plugin whose one hook has this body."""
    head = "from dcm import Component, hookimpl\n\n@hookimpl\ndef dcm_datasets():\n    "
    return head + body


def announcing(name: str, target: str) -> str:
    return hooks(f"return [Component({name!r}, {target!r}, 'a summary')]")


@attrs.frozen
class Site:
    """A folder on the path, into which distributions are installed by hand."""

    folder: Path

    def install(
        self,
        distribution: str,
        modules: Mapping[str, str],
        plugin: str = "",
        *,
        version: str = "1.0",
        metadata: bool = True,
    ) -> None:
        """Write modules, and the folder by which a distribution is known to be there.

        The entry point names `plugin`, by default the first module.
        """
        for name, source in modules.items():
            path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(dedent(source))
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        plugin = plugin or next(iter(modules))
        (info / "entry_points.txt").write_text(f"[dcm]\n{distribution} = {plugin}\n")
        if metadata:
            text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            (info / "METADATA").write_text(text)

    def weather(self) -> None:
        """Install a plugin that is whole."""
        modules = {
            "weather": announcing("weather", "weather_set:Weather"),
            "weather_set": WEATHER,
        }
        self.install("dcm-weather", modules, version="2.3")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def test_all_of_our_own_plugins_are_whole() -> None:
    plugins = Plugins.installed()
    assert [problem for problem in plugins.problems if problem.distribution == OURS] == []
    assert {each.kind for each in plugins.all() if each.distribution == OURS} == set(KINDS)


def test_a_data_set_of_others_does_what_ours_do(site: Site) -> None:
    site.weather()
    plugins = Plugins.installed()
    assert plugins.problems == []
    found = plugins.registered("dataset", "weather")
    assert (found.distribution, found.version) == ("dcm-weather", "2.3")
    dataset = plugins.find("dataset", "weather")(days=4)
    form = dcm.describe(dataset, plugins)
    assert (form["name"], form["distribution"]) == ("weather", "dcm-weather")
    assert dcm.build(form, plugins) == dataset
    outcomes = list(
        dcm.solve(QuadraticGenerator(), dataset, objective=QuadraticObjective(), slots=2)
    )
    assert {outcome.example.id: outcome.status for outcome in outcomes} == dict.fromkeys(
        (f"day-{index}" for index in range(4)), dcm.Status.CONVERGED
    )


def test_a_new_process_finds_it_by_name(site: Site) -> None:
    site.weather()
    code = "import dcm; print([e.answer for e in dcm.find('dataset', 'weather')(days=2)])"
    path = f"import sys; sys.path.insert(0, {str(site.folder)!r}); "
    run = subprocess.run(
        [sys.executable, "-c", path + code], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("['0.5', '1.5']\n", "")


def test_a_class_is_imported_when_it_is_asked_for(site: Site) -> None:
    site.weather()
    plugins = Plugins.installed()
    plugins.all()
    assert "weather_set" not in sys.modules
    plugins.find("dataset", "weather")
    assert "weather_set" in sys.modules


def test_others_may_provide_every_kind() -> None:
    targets = {kind: target for kind, (_, target) in KINDS.items()}

    class Everything:
        pass

    for kind, (hook, _) in KINDS.items():

        def announce(kind: str = kind) -> list[Component]:
            return [Component("mine", targets[kind], "mine")]

        setattr(Everything, hook, staticmethod(dcm.hookimpl(announce)))
    plugins = Plugins()
    plugins.add(Everything(), "everything")
    assert plugins.problems == []
    assert [each.kind for each in plugins.all()] == list(KINDS)
    for kind in KINDS:
        assert plugins.find(kind, "mine") is plugins.registered(kind, "everything/mine").load()


BROKEN = {
    "broken-import": ("import a_package_that_is_missing", "ModuleNotFoundError: .*is_missing"),
    "broken-syntax": ("def (", "SyntaxError"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "raises": (hooks("raise RuntimeError('no luck')"), "RuntimeError: no luck"),
    "fails-half-way": (
        hooks("yield Component('half', 'half:Half', 's')\n    raise KeyError('gone')"),
        "KeyError: 'gone'",
    ),
    "exits-later": (hooks("raise SystemExit(4)"), "SystemExit: 4"),
    "returns-none": (hooks("pass"), "dcm_datasets gives None"),
    "returns-a-number": (hooks("return 5"), "iterable of Components. It gives 5"),
    "returns-one": (hooks("return Component('one', 'one:One', 's')"), "iterable of Components"),
    "returns-texts": (hooks("return ['weather']"), "'weather', which is no Component"),
    "wrong-name": (hooks("return [Component('My Set', 'a:B', 's')]"), "lower case with hyphens"),
    "wrong-target": (hooks("return [Component('a', 'a.B', 's')]"), "'package.module:Class'"),
    "twice": (
        hooks("return [Component('a', 'a:B', 's'), Component('a', 'a:C', 's')]"),
        "the name 'a' twice",
    ),
    "takes-arguments": (
        "from dcm import hookimpl\n@hookimpl\ndef dcm_datasets(config): return []",
        "config",
    ),
    "misspelt": (
        "from dcm import hookimpl\n@hookimpl\ndef dcm_dataset(): return []",
        r"unknown hook dcm_dataset. Did you mean 'dcm_datasets'\?",
    ),
    "without-prefix": (
        "from dcm import hookimpl\n@hookimpl\ndef datasets(): return []",
        r"unknown hook datasets. Did you mean 'dcm_datasets'\?",
    ),
    "unmarked": ("def dcm_datasets(): return []", "dcm_datasets is no hook. Mark .*hookimpl"),
    "empty": ("", "no hook"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_plugin_is_reported(site: Site, name: str) -> None:
    source, cause = BROKEN[name]
    site.install(name, {name.replace("-", "_"): source})
    plugins = Plugins.installed()
    (problem,) = plugins.problems
    assert (problem.distribution, problem.plugin) == (name, name)
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(problem.cause)
    assert {each.distribution for each in plugins.all()} == {OURS}  # nothing of it is taken


def test_no_broken_plugin_stops_another(site: Site) -> None:
    before = {each.full_name for each in Plugins.installed().all()}
    for name, (source, _) in BROKEN.items():
        site.install(name, {name.replace("-", "_"): source})
    site.weather()
    plugins = Plugins.installed()
    assert {problem.distribution for problem in plugins.problems} == set(BROKEN)
    assert {each.full_name for each in plugins.all()} - before == {"dcm-weather/weather"}
    assert len(plugins.find("dataset", "weather")()) == 3


def test_a_name_that_is_missing_may_be_that_of_a_broken_plugin(site: Site) -> None:
    site.install("dcm-traffic", {"traffic": "import a_package_that_is_missing"})
    with pytest.raises(UsageError, match=r"no dataset 'traffic'. Plugins of dcm-traffic could not"):
        Plugins.installed().find("dataset", "traffic")


def test_an_entry_point_that_names_nothing_is_reported(site: Site) -> None:
    site.install("nowhere", {"somewhere": ""}, "somewhere:plugin")
    site.install("nonsense", {"sense": ""}, "sense::")
    problems = {each.distribution: each.cause for each in Plugins.installed().problems}
    assert set(problems) == {"nowhere", "nonsense"}
    assert "somewhere:plugin" in problems["nowhere"]


def test_what_is_left_of_an_uninstalled_distribution_stops_nothing(site: Site) -> None:
    site.install("left-over", {}, "left_over", metadata=False)
    site.weather()
    plugins = Plugins.installed()
    (problem,) = plugins.problems
    assert "left_over" in problem.cause
    assert plugins.find("dataset", "weather")


def test_a_plugin_may_be_an_object_of_a_module(site: Site) -> None:
    source = """
        from dcm import Component, hookimpl

        class Plugin:
            @hookimpl
            def dcm_datasets(self):
                yield Component("weather", "weather_set:Weather", "a summary")

        plugin = Plugin()
    """
    site.install("object", {"as_object": source, "weather_set": WEATHER}, "as_object:plugin")
    assert len(Plugins.installed().find("dataset", "weather")(days=1)) == 1


def test_two_providers_of_a_name_are_named_and_can_be_told_apart(site: Site) -> None:
    site.weather()
    other = WEATHER.replace(
        "days: int = attrs.field(default=3", "days: int = attrs.field(default=9"
    )
    site.install(
        "climate",
        {"climate": announcing("weather", "climate_set:Weather"), "climate_set": other},
    )
    plugins = Plugins.installed()
    assert plugins.problems == []
    with pytest.raises(
        PluginError,
        match=r"dataset 'weather' is provided by climate and dcm-weather\."
        r" Ask for 'climate/weather' or 'dcm-weather/weather'",
    ):
        plugins.find("dataset", "weather")
    for distribution, days in (("climate", 9), ("dcm-weather", 3)):
        dataset = plugins.find("dataset", f"{distribution}/weather")()
        assert dataset.days == days
        form = dcm.describe(dataset, plugins)
        assert form["distribution"] == distribution
        assert dcm.build(form, plugins) == dataset
    with pytest.raises(PluginError, match="climate and dcm-weather"):
        dcm.build({"kind": "dataset", "name": "weather"}, plugins)


def test_nobody_takes_a_name_of_ours_away(site: Site) -> None:
    site.install("copycat", {"copycat": announcing("squad", "weather_set:Weather")})
    plugins = Plugins.installed()
    with pytest.raises(PluginError, match=f"copycat and {OURS}"):
        plugins.find("dataset", "squad")
    assert plugins.find("dataset", f"{OURS}/squad").__name__ == "Squad"


def test_one_name_may_be_of_two_kinds(site: Site) -> None:
    source = """
        from dcm import Component, hookimpl

        @hookimpl
        def dcm_datasets():
            return [Component("mean", "weather_set:Weather", "a summary")]

        @hookimpl
        def dcm_evaluators():
            return [Component("mean", "weather_set:Weather", "a summary")]
    """
    site.install("both", {"both": source, "weather_set": WEATHER})
    plugins = Plugins.installed()
    assert plugins.problems == []
    assert plugins.find("dataset", "mean").__name__ == "Weather"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:Weather", "No module named 'no_such_module'. Install what it needs"),
        ("weather_set:Wether", "AttributeError.*'Wether'"),
        ("broken_set:Weather", "RuntimeError: no luck"),
        ("leaving_set:Weather", "SystemExit"),
        ("dcm_optimizers.adam:Adam", "dcm_optimizers.adam:Adam is no TaskDataset"),
        ("weather_set:attrs", "weather_set:attrs is no TaskDataset"),
        ("weather_set:something", "weather_set:something is no TaskDataset"),
    ],
)
def test_a_target_that_cannot_be_used_is_an_error_when_it_is_asked_for(
    site: Site, target: str, message: str
) -> None:
    modules = {
        "bad": announcing("bad", target),
        "weather_set": WEATHER + "\n    something = Weather(1)",
        "broken_set": "raise RuntimeError('no luck')",
        "leaving_set": "raise SystemExit",
    }
    site.install("dcm-bad", modules)
    plugins = Plugins.installed()
    assert plugins.problems == []
    with pytest.raises(PluginError, match=message) as error:
        plugins.find("dataset", "bad")
    assert "dataset 'bad' of dcm-bad cannot be loaded" in str(error.value)
    assert plugins.find("dataset", "squad")
    # Whoever describes another class of that name is not stopped by it either.
    assert plugins.of(Weather(1)) is None


class Weather(ToyTask):
    """Nobody registers it."""


@pytest.mark.parametrize("target", ["weather_api:Weather", "weather_api:Renamed"])
def test_a_target_may_name_what_its_module_imported(site: Site, target: str) -> None:
    api = "from weather_set import Weather\nRenamed = Weather"
    modules = {
        "weather": announcing("weather", target),
        "weather_api": api,
        "weather_set": WEATHER,
    }
    site.install("dcm-weather", modules)
    plugins = Plugins.installed()
    dataset = plugins.find("dataset", "weather")(days=2)
    assert dcm.build(dcm.describe(dataset, plugins), plugins) == dataset


def test_a_class_is_not_taken_for_what_it_derives_from() -> None:
    class Announcing:
        @dcm.hookimpl
        def dcm_datasets(self) -> list[Component]:
            return [Component("toy", "dcm.testing.doubles:ToyTask", "a summary")]

    plugins = Plugins()
    plugins.add(Announcing(), "here")
    assert plugins.of(ToyTask()) == plugins.registered("dataset", "toy")
    assert plugins.of(Weather()) is None


def test_unknown_names_and_kinds_are_usage_errors() -> None:
    with pytest.raises(UsageError, match=r"no criterion 'exat'. Did you mean 'exact'\?"):
        dcm.find("criterion", "exat")
    with pytest.raises(UsageError, match=r"unknown kind 'criteria'\. There are .*criterion"):
        dcm.find("criteria", "exact")
    with pytest.raises(UsageError, match="unknown kind"):
        Plugins().all("criteria")
    with pytest.raises(UsageError, match="There is none"):
        Plugins().find("criterion", "exact")


def test_a_problem_says_whose_it_is() -> None:
    plugins = Plugins()
    plugins.add(object(), "somebody", name="their-plugin")
    assert plugins.problems == [Problem("somebody", "their-plugin", plugins.problems[0].cause)]


@pytest.mark.parametrize("name", ["", "-", "Upper", "with space", "a/b", "a_b", "a:b"])
def test_a_component_has_a_name_that_can_be_typed(name: str) -> None:
    with pytest.raises(ValueError, match="lower case with hyphens"):
        Component(name, "a:B", "a summary")


@pytest.mark.parametrize("target", ["", "a", "a.b", ":B", "a:", "a:b.c", "a:b c"])
def test_a_component_has_a_target_that_can_be_imported(target: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:Class"):
        Component("a", target, "a summary")
