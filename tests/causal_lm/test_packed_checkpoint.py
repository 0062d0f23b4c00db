"""Checkpoints in 4 bits: kept so, and the same model as when they are dequantised."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Mxfp4Config

from dcm import GeneratorError, find
from dcm.causal_lm.four_bits import blocks_of, dense_of, expert_layers
from dcm.causal_lm.packed_checkpoint import load_packed, packed_form
from dcm.testing.doubles import byte_tokenizer

SIZES = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "initializer_range": 0.15,
}
# All the parts of Kimi K2, which is a DeepSeek V3: latent attention, a dense first layer, a shared
# expert, groups of experts and a correction of their choice.
KIMI = SIZES | {
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 2.5,
}
INT4 = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": 32,
            },
        }
    },
    "ignore": ["lm_head"],
}


def made(architecture, sizes):
    config = AutoConfig.for_model(architecture, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if "bias" in name or "sinks" in name:
                torch.nn.init.normal_(value, std=0.1)
    return model.eval().requires_grad_(requires_grad=False)


def state_config(folder, quantization):
    path = folder / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "quantization_config": quantization})
    )


def loss_and_gradient(model):
    generator = torch.Generator().manual_seed(1)
    content = torch.randn(2, 12, 64, generator=generator).mul(0.3).requires_grad_()
    labels = torch.randint(0, 257, (2, 12), generator=generator)
    loss = model(inputs_embeds=content, labels=labels, use_cache=False).loss
    (gradient,) = torch.autograd.grad(loss, content)
    return loss.detach(), gradient


def assert_same(one, other):
    (loss, gradient), (expected, its_gradient) = map(loss_and_gradient, (one, other))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert (gradient - its_gradient).norm() < 1e-4 * its_gradient.norm()


@pytest.fixture
def gpt_oss(tmp_path):
    """A folder as that of gpt-oss: experts in MXFP4, all else in a floating point dtype."""
    model = made("gpt_oss", SIZES)
    tensors = dict(model.state_dict())
    for name in [name for name in tensors if name.endswith("_proj") and "experts" in name]:
        blocks, scales = blocks_of("mxfp4", tensors.pop(name).transpose(1, 2))
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    model.config.save_pretrained(tmp_path)
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "model.safetensors")
    state_config(tmp_path, {"quant_method": "mxfp4"})
    return tmp_path


def test_mxfp4_is_the_model_that_transformers_dequantises(gpt_oss):
    config = AutoConfig.from_pretrained(gpt_oss)
    assert packed_form(config) == "mxfp4"
    packed = load_packed(gpt_oss, config, torch.float32, "cpu")
    dense = AutoModelForCausalLM.from_pretrained(
        gpt_oss, dtype=torch.float32, quantization_config=Mxfp4Config(dequantize=True)
    )
    assert_same(packed, dense.eval().requires_grad_(requires_grad=False))
    kept = [p.dtype for n, p in packed.named_parameters() if n.endswith("original0")]
    assert kept == [torch.uint8] * 4


def test_the_generator_keeps_the_blocks_too(gpt_oss):
    byte_tokenizer().save_pretrained(gpt_oss)
    generator = find("generator", "transformers")(model=str(gpt_oss), device="cpu")
    kept = [p for n, p in generator.lm.model.named_parameters() if n.endswith("original0")]
    assert [each.dtype for each in kept] == [torch.uint8] * 4
    assert generator.text(generator.encode("a text")) == "a text"


def test_weights_that_are_missing_are_named(gpt_oss):
    tensors = load_file(gpt_oss / "model.safetensors")
    del tensors["model.layers.1.mlp.experts.down_proj_blocks"]
    del tensors["model.layers.1.mlp.experts.down_proj_scales"]
    save_file(tensors, gpt_oss / "model.safetensors")
    config = AutoConfig.from_pretrained(gpt_oss)
    with pytest.raises(GeneratorError, match=r"lack 2 tensors.*layers\.1.*down_proj"):
        load_packed(gpt_oss, config, torch.float32, "cpu")


def packed_int4(name, weight):
    """What compressed-tensors stores of a linear layer, and the weight that it stands for."""
    blocks, scales = blocks_of("int4", weight)
    stored = {
        f"{name}.weight_packed": blocks.flatten(-2).contiguous().view(torch.int32),
        f"{name}.weight_scale": scales,
        f"{name}.weight_shape": torch.tensor(weight.shape),
    }
    return stored, dense_of("int4", blocks, scales, torch.float32)


@pytest.mark.parametrize("architecture", ["qwen2", "deepseek_v3"])
def test_int4_is_the_model_of_its_dequantised_weights(architecture, tmp_path):
    model = made(architecture, KIMI if architecture == "deepseek_v3" else SIZES)
    model.config.save_pretrained(tmp_path)
    state_config(tmp_path, INT4)
    tensors = dict(model.state_dict())
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and "mlp" in name:
            del tensors[f"{name}.weight"]
            stored, module.weight.data = packed_int4(name, module.weight)
            tensors |= stored
    for layer, module in model.named_modules():
        if not dict(expert_layers(model)).get(module):
            continue
        for weight in ("gate_up_proj", "down_proj"):
            del tensors[f"{layer}.{weight}"]
        for expert in range(module.num_experts):
            gate, up = module.gate_up_proj[expert].chunk(2)
            parts = {"gate": gate, "up": up, "down": module.down_proj[expert]}
            for which, part in parts.items():
                stored, dense = packed_int4(f"{layer}.{expert}.{which}_proj", part)
                part.copy_(dense)
                tensors |= stored
    save_file(
        {k: v.clone().contiguous() for k, v in tensors.items()}, tmp_path / "model.safetensors"
    )
    config = AutoConfig.from_pretrained(tmp_path)
    assert packed_form(config) == "int4"
    packed = load_packed(tmp_path, config, torch.float32, "cpu")
    assert_same(packed, model)


def test_int4_means_what_compressed_tensors_takes_it_for():
    compressed = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    stored, dense = packed_int4("a", weight)
    found = compressed.unpack_from_int32(stored["a.weight_packed"], 4, torch.Size([8, 64]))
    scales = stored["a.weight_scale"].repeat_interleave(32, 1)
    assert torch.equal(found * scales, dense)


@pytest.mark.parametrize(
    "other",
    [
        {"quant_method": "bitsandbytes"},
        INT4 | {"format": "naive-quantized"},
        INT4 | {"config_groups": {"a": {"weights": {"num_bits": 8, "type": "int"}}}},
    ],
)
def test_other_forms_are_left_to_transformers(other):
    config = AutoConfig.for_model("qwen2")
    assert packed_form(config) is None
    config.quantization_config = other
    assert packed_form(config) is None
