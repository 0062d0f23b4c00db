"""What is planned from a config alone is what a model has and keeps."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dcm import GeneratorError
from dcm.causal_lm.planning import plan, shape_of
from dcm.causal_lm.quantised import quantise

SIZES = {
    "vocab_size": 257,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
KIMI = EXPERTS | {
    "num_key_value_heads": 4,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "moe_intermediate_size": 128,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
}
MORE = {
    "gpt_oss": EXPERTS,
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128},
    "deepseek_v3": KIMI,
}
GIB = 2**30


def config_of(architecture):
    return AutoConfig.for_model(architecture, **{**SIZES, **MORE.get(architecture, {})})


def model_of(architecture):
    model = AutoModelForCausalLM.from_config(config_of(architecture), dtype=torch.float32)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        ("qwen2", torch.float32),
        ("gpt_neox", torch.float32),
        ("llama", torch.bfloat16),
        ("qwen3_moe", torch.bfloat16),
    ],
)
def test_what_is_kept_for_the_backward_pass(architecture, dtype):
    model, kept = model_of(architecture).to(dtype), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def save(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    sequence = torch.randn(4, 48, 256, dtype=dtype, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model.base_model(inputs_embeds=sequence, use_cache=False)
    true = sum(count for count, _ in kept.values()) / (4 * 48)
    assert shape_of(config_of(architecture), dtype).kept == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize("architecture", ["qwen2", "gpt_oss", "deepseek_v3"])
def test_parameters_are_counted(architecture):
    shape, model = shape_of(config_of(architecture), torch.float32), model_of(architecture)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    experts = sum(p.numel() for p in model.parameters() if p.ndim == 3)
    assert shape.active == shape.parameters - experts * 3 // 4
    assert 0 < shape.kept_compiled < shape.kept


@pytest.mark.parametrize("quantize", [None, "int4", "mxfp4"])
@pytest.mark.parametrize("architecture", ["qwen2", "gpt_oss"])
def test_weights_take_what_is_planned(architecture, quantize):
    model = model_of(architecture)
    if quantize is not None:
        quantise(model, quantize, "cpu")
    true = sum(parameter.nbytes for parameter in model.parameters())
    shape = shape_of(config_of(architecture), torch.float32)
    # Scales of INT4 are in the model's dtype, here twice as large as the plan's.
    planned = plan(shape, GIB, quantize=quantize).weights
    assert planned == pytest.approx(true, rel=0.1 if quantize == "int4" else 0.01)


def test_a_plan_depends_on_what_is_asked():
    shape = shape_of(config_of("qwen2"), torch.bfloat16)
    base = plan(shape, GIB)
    assert base.peak(base.lanes) <= GIB < base.peak(2 * base.lanes)
    assert plan(shape, GIB, layout="suffix").row < base.row
    assert plan(shape, GIB, slots=64).row > base.row
    assert plan(shape, GIB, compiled=False).row > base.row
    assert plan(shape, GIB, compute="fp8").copies == 2 * shape.linears
    assert plan(shape, base.weights // 2).lanes == 0


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3_moe"])
def test_block_fp8_takes_a_byte_a_weight_of_layers(architecture):
    """A byte each of linear layers and experts, and a scale for 128 x 128 of them."""
    shape = shape_of(config_of(architecture), torch.bfloat16)
    layers = shape.linears + shape.experts
    found = plan(shape, GIB, quantize="block-fp8")
    assert found.weights == round(2 * (shape.parameters - layers) + layers * (1 + 4 / 128**2))
    assert found.copies == 2 * max(shape.largest_linear, shape.largest_experts)


def test_a_model_that_cannot_be_run_so_is_refused():
    config = AutoConfig.for_model("qwen2", **{**SIZES, "num_attention_heads": 3})
    config.head_dim = None
    config.hidden_size = 100
    with pytest.raises(GeneratorError, match="qwen2 model cannot be planned"):
        shape_of(config, torch.float32)


def test_steps_in_fp8_have_copies_and_keep_less_a_row():
    """Two bytes a weight more; of a layer what goes into it and what attention makes."""
    shape = shape_of(config_of("qwen2"), torch.bfloat16)
    plain, fp8 = (plan(shape, GIB, compute=compute) for compute in (None, "fp8"))
    assert fp8.copies == 2 * shape.linears
    assert fp8.row < plain.row
    assert shape.kept_fp8 == 4 * (256 + 256) * 2
