"""Checkpoints in block-fp8: a scale for each 128 x 128 weights, as DeepSeek V3's."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from dcm import Modes, Strands, find
from dcm.testing.doubles import byte_tokenizer

_BLOCK = 128


def in_blocks(weight):
    """fp8 numbers, their scales, and the weight that they stand for."""
    lines, width = weight.shape
    blocks = weight.view(lines // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    scale = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
    wide = scale[:, None, :, None]
    kept = (blocks / wide).to(torch.float8_e4m3fn)
    return kept.view_as(weight), scale, (kept.float() * wide).view_as(weight)


def save(folder, *, block_fp8):
    """The same model, kept in block-fp8 or as what that stands for."""
    config = AutoConfig.for_model(
        "llama",
        vocab_size=257,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        initializer_range=0.15,
        eos_token_id=256,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    found = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        found[name] = weight
        if "proj" in name:
            kept, scale, dense = in_blocks(weight)
            found |= {name: kept, f"{name}_scale_inv": scale} if block_fp8 else {name: dense}
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    if block_fp8:
        file = folder / "config.json"
        how = {"quant_method": "fp8", "activation_scheme": "dynamic"}
        quantization = how | {"weight_block_size": [_BLOCK, _BLOCK]}
        written = json.loads(file.read_text()) | {"quantization_config": quantization}
        file.write_text(json.dumps(written))
    return find("generator", "transformers")(model=str(folder), device="cpu")


def test_losses_gradients_and_texts_are_those_of_the_dequantised_weights(tmp_path):
    """On a CPU, where they are dequantised as they are read."""
    found = []
    for kept in (True, False):
        generator = save(tmp_path / str(kept), block_fp8=kept)
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 4, generator.width, generator=random)
        content = (noise * generator.embedding_scale).requires_grad_()
        lead = Modes(generator).vectors(["question", "answer"])
        strands = Strands(
            row=torch.tensor([0, 0]),
            lead=lead,
            ids=[generator.encode("a question"), generator.encode("b")],
            weight=torch.ones(2),
            rows=1,
        )
        nll = generator.score(content, strands).nll
        (gradient,) = torch.autograd.grad(nll.sum(), content)
        texts = generator.decode(content.detach().expand(2, -1, -1), lead, 12)
        found.append((nll, gradient, texts))
    (nll, gradient, texts), (expected, expected_gradient, expected_texts) = found
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    assert texts == expected_texts
