"""Contents outside dcm: transformers and safetensors alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import dcm

# What a program does that has never heard of dcm.
ALONE = """
import sys, torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
file, key, folder = sys.argv[1:]
with safe_open(file, framework="pt") as prompts:
    prompt = prompts.get_tensor(key)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=prompt.dtype)
ids = model.generate(
    inputs_embeds=prompt[None], attention_mask=torch.ones(1, len(prompt)),
    do_sample=False, max_new_tokens=40,
)
print(AutoTokenizer.from_pretrained(folder).decode(ids[0], skip_special_tokens=True))
assert "dcm" not in sys.modules
"""


def test_an_export_generates_without_dcm(memory: dcm.Memory, tmp_path: Path) -> None:
    assert memory.export(tmp_path / "out.safetensors", ids=["a/b é", "moon"]) == 2
    folder = str(files("dcm_nano") / "model")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "out.safetensors"), "a/b é", folder]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "in 1945"


def test_an_export_is_dense_prompts_of_the_models_dtype(
    memory: dcm.Memory, tmp_path: Path, pairs: dict[str, tuple[str, str]]
) -> None:
    memory.export(tmp_path / "all.safetensors", "question")
    with safe_open(tmp_path / "all.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(pairs)
        about = file.metadata()
        prompt = file.get_tensor("moon")
    assert (about["mode"], about["layout"], about["dtype"]) == ("question", "prefix", "float32")
    wanted = torch.cat([memory["moon"].mode_vector("question")[None], memory["moon"].content])
    assert torch.equal(prompt, wanted)
    assert prompt.is_contiguous()
    memory.export(tmp_path / "half.safetensors", ids=["moon"], dtype="bfloat16")
    with safe_open(tmp_path / "half.safetensors", framework="pt") as file:
        assert file.get_tensor("moon").dtype == torch.bfloat16


def test_what_cannot_be_exported_is_refused(memory: dcm.Memory, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(dcm.UsageError, match="dtype 'int4'"):
        memory.export(out, dtype="int4")
    with pytest.raises(dcm.UsageError, match="no item 'rome'"):
        memory.export(out, ids=["rome"])
    with pytest.raises(dcm.UsageError, match="mode 'summary'"):
        memory.export(out, "summary")
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(dcm.UsageError, match="there already"):
        memory.export(out)
    assert out.read_text() == "mine"
