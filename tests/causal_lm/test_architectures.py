"""Twenty-nine architectures, of every kind that is run in another way: right, or refused with a
reason. `experiments/architectures.py` looks at all of them."""

from __future__ import annotations

import json

import pytest
import torch

from dcm import Experiment, GeneratorError, Modes, find

# What shows when they are tried: how texts are read on, and whether strands share a prompt.
RIGHT = {
    "gpt2": ("cached", True),
    "llama": ("cached", True),
    "qwen2": ("cached", True),
    "phi": ("cached", True),
    "gpt_neox": ("cached", True),
    "opt": ("cached", True),
    "mixtral": ("cached", True),
    "qwen3_moe": ("cached", True),
    "deepseek_v3": ("cached", True),
    # Windows of attention.
    "gpt_neo": ("cached", False),
    "mistral": ("cached", False),
    "gemma2": ("cached", False),
    "gemma3_text": ("cached", False),
    "gpt_oss": ("cached", False),
    # Positions that the model counts itself, or stretches, or chooses among.
    "bloom": ("cached", False),
    "phi3": ("cached", False),
    "deepseek_v32": ("cached", True),
    # Layers that are no attention, caches of other names or none.
    "mamba": ("cached", False),
    "bamba": ("cached, positions given", False),
    "lfm2": ("cached", False),
    "openai-gpt": ("without cache", False),
    "rwkv": ("without cache", False),
    "nemotron_h": ("without cache", False),
}
REFUSED = {
    "bert": "Its positions see those behind them",
    "gemma3n_text": "more by a token's number than its embedding",
    "gemma4_text": "cannot be fed vectors",
    "roberta": "its `generate` writes other tokens than the model chooses",
}


@pytest.fixture(scope="module")
def architectures(script):
    return script("experiments/architectures.py")


@pytest.mark.parametrize("name", RIGHT)
def test_losses_gradients_and_texts_are_those_of_the_plain_model(architectures, name, tmp_path):
    architectures.save_tiny(name, tmp_path)
    found = architectures.check(tmp_path)
    assert found["loss"] < 2e-5
    assert found["gradient"] < 1e-4
    assert found["texts"] == "8 of 8"
    assert (found["decoding"], found["shares"]) == RIGHT[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_optimised_is_refused_before_anything_is_computed(
    architectures, name, tmp_path, monkeypatch
):
    """At once: not loaded again for each example."""
    architectures.save_tiny(name, tmp_path / "model")
    generator = find("generator", "transformers")(model=str(tmp_path / "model"), device="cpu")
    loads, load = [], type(generator).load
    monkeypatch.setattr(type(generator), "load", lambda self: loads.append(self) or load(self))
    with pytest.raises(GeneratorError, match=REFUSED[name]):
        Experiment(generator=generator).run(tmp_path / "run")
    assert len(loads) == 1
    assert not (tmp_path / "run").exists()


def test_positions_that_are_stretched_from_some_length_on(architectures, tmp_path):
    """Phi-3's are, from 80 on: what was read before that is then no longer true."""
    architectures.save_tiny("phi3", tmp_path)
    generator = find("generator", "transformers")(model=str(tmp_path), device="cpu")
    lm = generator.lm
    assert str(lm.tried.way(64)) == "cached"
    assert str(lm.tried.way(120)) == "without cache"
    noise = torch.randn(1, 70, generator.width, generator=torch.Generator().manual_seed(0))
    content, lead = noise * generator.embedding_scale, Modes(generator).vectors(["answer"])
    prompt = torch.cat([lead, content[0]])
    (text,) = generator.decode(content, lead, 30)
    assert text == lm.text(architectures._chosen(lm.model, prompt, 30, lm.end))


def test_a_run_records_what_was_tried(architectures, tmp_path):
    architectures.save_tiny("bamba", tmp_path / "model")
    Experiment(
        generator=find("generator", "transformers")(model=str(tmp_path / "model"), device="cpu"),
        dataset=find("dataset", "samples")(limit=1),
        optimizer=find("optimizer", "adam")(),
        slots=2,
        max_steps=1,
    ).run(tmp_path / "run")
    trials = json.loads((tmp_path / "run" / "summary.json").read_text())["trials"]
    assert trials["gradient_error"] < 0.01
    assert trials["decoding"]["64"] == "cached, positions given"
    assert trials["generate"] == "takes no vectors"
