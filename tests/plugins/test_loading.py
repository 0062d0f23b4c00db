"""How a model is loaded: which dtype, which revision, on which devices, with how much kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import attrs
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from dcm import Experiment, GeneratorError, Modes, Strands, find
from dcm.testing.doubles import save_tiny_model

Transformers = find("generator", "transformers")
_WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama", "llama")


def scored(generator):
    """Losses of two strands, and the gradient in their content [K, D]."""
    noise = torch.randn(1, 4, generator.width, generator=torch.Generator().manual_seed(0))
    content = (noise * generator.embedding_scale).requires_grad_()
    strands = Strands(
        row=torch.tensor([0, 0]),
        lead=Modes(generator).vectors(["question", "answer"]),
        ids=[generator.encode("a question"), generator.encode("b")],
        weight=torch.ones(2),
        rows=1,
    )
    nll = generator.score(content, strands).nll
    (gradient,) = torch.autograd.grad(nll.sum(), content)
    return nll.detach(), gradient[0]


def alike(one, other):
    for a, b in zip(scored(one), scored(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("fp32", "float32"),
        ("bf16", "bfloat16"),
        ("bfloat16", "bfloat16"),
        ("fp16", "float16"),
        ("half", "float16"),
        ("double", "float64"),
        ("auto", "float32"),
    ],
)
def test_a_dtype_goes_by_its_usual_names(folder, given, name):
    generator = Transformers(model=str(folder), dtype=given, device="cpu")
    assert generator.dtype == generator.lm.model.dtype == getattr(torch, name)


def test_another_dtype_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"auto.*float32.*bfloat16.*float16"):
        Transformers(model="x", dtype="int3")


@pytest.mark.parametrize("kept", ["bfloat16", "float16"])
def test_auto_computes_in_float32_on_a_cpu_whatever_is_kept(tmp_path, kept):
    folder = save_tiny_model(tmp_path, "llama")
    weights = {k: v.to(getattr(torch, kept)) for k, v in load_file(folder / _WEIGHTS).items()}
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    assert Transformers(model=str(folder), device="cpu").dtype == torch.float32


def overflowing(folder: Path, factor: float) -> None:
    """Multiply what the first layer adds."""
    tensors = load_file(folder / _WEIGHTS)
    tensors["model.layers.0.mlp.down_proj.weight"] *= factor
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def test_a_model_that_float16_cannot_hold_is_refused_and_bfloat16_named(tmp_path):
    folder = save_tiny_model(tmp_path / "model", "llama")
    overflowing(folder, 1e5)
    generator = Transformers(model=str(folder), dtype="fp16", device="cpu")
    with pytest.raises(GeneratorError, match=r"float16.*not finite.*65504.*dtype=bfloat16"):
        Experiment(generator=generator).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert scored(Transformers(model=str(folder), dtype="bf16", device="cpu"))[0].isfinite().all()


def test_a_model_that_memory_does_not_hold_is_told_with_what_helps(folder, monkeypatch):
    from transformers import PreTrainedModel

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(PreTrainedModel, "to", full)
    generator = Transformers(model=str(folder), device="cpu")
    with pytest.raises(GeneratorError, match=r"cannot be loaded.*out of memory.*`dcm plan`"):
        _ = generator.lm


def test_a_revision_is_the_model_of_that_branch(folder, tmp_path, monkeypatch):
    """Two revisions of one name, as the hub's client keeps them."""
    place = tmp_path / "models--someone--tiny"
    for revision, commit, seed in (("main", "a" * 40, 0), ("older", "b" * 40, 1)):
        save_tiny_model(place / "snapshots" / commit, "llama", seed)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / revision).write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    newest = Transformers(model="someone/tiny", device="cpu")
    older = Transformers(model="someone/tiny", device="cpu", revision="older")
    alike(newest, Transformers(model=str(folder), device="cpu"))
    assert newest.fingerprint != older.fingerprint
    with pytest.raises(GeneratorError, match="someone/tiny"):
        Transformers(model="someone/tiny", device="cpu", revision="none").encode("text")


def test_a_model_that_is_spread_over_devices_is_the_same(folder):
    spread = Transformers(model=str(folder), device_map="auto")
    alike(spread, Transformers(model=str(folder), device="cpu"))


_SPLIT = """
import sys
import torch.distributed
from dcm import find
from tests.plugins.test_loading import alike, scored
split = find("generator", "transformers")(model=sys.argv[1], device="cpu", tp_plan="auto")
weight = dict(split.lm.model.named_parameters())["model.layers.0.self_attn.q_proj.weight"]
assert weight.to_local().shape == (32, 64), weight
alike(split, find("generator", "transformers")(model=sys.argv[1], device="cpu"))
print("same")
torch.distributed.destroy_process_group()
"""


def test_layers_split_over_two_processes_are_the_same(folder, tmp_path, python):
    script = tmp_path / "split.py"
    script.write_text(_SPLIT)
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*torchrun, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same") == 2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("compute", [None, "bfloat16"])
def test_checkpointing_keeps_less_and_gives_the_same(folder, packed, compute):
    def kept(lm):
        """Bytes that autograd keeps of a forward pass."""
        total = 0

        def keep(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            scored(lm)
        return total

    def load(**more):
        generator = Transformers(model=str(folder), device="cpu", compute=compute, **more)
        object.__setattr__(generator, "lm", attrs.evolve(generator.lm, packed=packed))
        return generator

    plain, less = load(), load(checkpointing=True)
    alike(less, plain)
    if packed:
        assert less.lm.packs("prefix", 64) == plain.lm.packs("prefix", 64) == "shared"
    assert kept(less) < 0.7 * kept(plain)
