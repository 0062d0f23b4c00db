"""The generators under their contract."""

from __future__ import annotations

import pytest

from dcm import Component, hookimpl
from dcm.plugins import Plugins
from dcm.testing.contracts import CausalLMContract
from dcm.testing.doubles import TinyGenerator, save_tiny_model
from dcm_nano.generator import Nano
from dcm_transformers.generator import Transformers

# Each loads its model at first use and keeps it.
NANO = Nano(device="cpu")
TINY = TinyGenerator()


class TestNano(CausalLMContract):
    covers = "generator/nano"

    @pytest.fixture
    def generator(self) -> Nano:
        return NANO


CHAT = "{{ bos_token }}[{{ messages[0].content }}]"

MODELS = [(name, "float32") for name in ("qwen2", "llama", "gpt_neox", "gpt2")]


@pytest.fixture(scope="module", params=[*MODELS, ("qwen2", "bfloat16")], ids="-".join)
def tiny_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Transformers:
    architecture, dtype = request.param
    folder = save_tiny_model(tmp_path_factory.mktemp(architecture), architecture)
    return Transformers(str(folder), dtype=dtype, device="cpu")


class TestTransformers(CausalLMContract):
    covers = "generator/transformers"

    @pytest.fixture
    def generator(self, tiny_model: Transformers) -> Transformers:
        return tiny_model


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Transformers:
    folder = save_tiny_model(tmp_path_factory.mktemp("chat"))
    (folder / "chat_template.jinja").write_text(CHAT)
    return Transformers(str(folder), device="cpu", framing="chat")


class TestTransformersInAChatTemplate(CausalLMContract):
    covers = "generator/transformers"

    @pytest.fixture
    def generator(self, framed: Transformers) -> Transformers:
        return framed


class Doubles:
    """Announces a test double."""

    @hookimpl
    def dcm_generators(self) -> list[Component]:
        return [Component("tiny", "dcm.testing.doubles:TinyGenerator", "a tiny random model")]


class TestTheTinyDouble(CausalLMContract):
    covers = "generator/tiny"

    @pytest.fixture
    def generator(self) -> TinyGenerator:
        return TINY

    @pytest.fixture
    def plugins(self) -> Plugins:
        plugins = Plugins()
        plugins.add(Doubles(), "doubles", "1")
        return plugins
