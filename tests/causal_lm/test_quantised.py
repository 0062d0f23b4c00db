"""Layers in 8 or 4 bits: losses and gradients are those of the dequantised weights."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import AutoConfig, AutoModelForCausalLM

from dcm import build, describe, find
from dcm.causal_lm.four_bits import blocks_of, dense_of, expert_layers
from dcm.causal_lm.model import CausalLM
from dcm.causal_lm.quantised import QUANTIZE, choose_experts, quantise
from dcm.errors import GeneratorError
from dcm.strands import Strands
from dcm.testing.doubles import byte_tokenizer

SIZES = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
    "bos_token_id": 256,
    "eos_token_id": 256,
}
EXPERTS = {
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}
PACKAGES = {"nf4": "bitsandbytes", "int8": "bitsandbytes"}


def needs(quantize):
    package = PACKAGES.get(quantize, "torchao" if quantize.startswith("torchao") else None)
    missing = package is not None and find_spec(package) is None
    return pytest.param(quantize, marks=pytest.mark.skipif(missing, reason=f"no {package}"))


def model_of(architecture):
    more = EXPERTS.get(architecture, {})
    config = AutoConfig.for_model(architecture, **SIZES, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if "bias" in name or "sinks" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(requires_grad=False)


def dequantised(quantised, plain):
    """`plain` with the weights that `quantised` stands for: what each linear layer does to the unit
    vectors, and what each expert's weight reads as."""
    places = dict(quantised.named_modules())
    for name, module in list(plain.named_modules()):
        if type(module) is torch.nn.Linear:
            unit = torch.eye(module.in_features)
            bias = 0 if module.bias is None else module.bias
            module.weight.data = (places[name](unit) - bias).t().contiguous()
    for name, module in plain.named_modules():
        for weight, value in module.named_parameters(recurse=False):
            if value.ndim == 3:
                value.data = getattr(places[name], weight).detach().clone()
    return plain


def loss_and_gradient(model, content):
    content = content.clone().requires_grad_()
    strands = Strands(
        row=torch.tensor([0, 0, 1]),
        lead=model.get_input_embeddings()(torch.tensor([3, 4, 3])).detach(),
        ids=[(1, 2, 3, 4, 5), (6, 7, 8), (9, 10, 11, 12)],
        weight=torch.ones(3),
        rows=2,
    )
    nll = CausalLM(model, byte_tokenizer()).score(content, strands).nll
    (gradient,) = torch.autograd.grad(nll.sum(), content)
    return nll.detach(), gradient


@pytest.mark.parametrize("architecture", ["qwen2", "gpt_oss", "qwen3_moe"])
@pytest.mark.parametrize("quantize", [needs(each) for each in QUANTIZE])
def test_losses_and_gradients_are_those_of_the_dequantised_weights(quantize, architecture):
    plain = model_of(architecture)
    quantised = deepcopy(plain)
    quantise(quantised, quantize, "cpu")
    reference = dequantised(quantised, deepcopy(plain))
    content = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(1)) * 0.3
    nll, gradient = loss_and_gradient(quantised, content)
    expected, its_gradient = loss_and_gradient(reference, content)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-5)
    assert (gradient - its_gradient).norm() < 1e-4 * its_gradient.norm()
    # It was quantised, and the weights are near those they were made from.
    before, _ = loss_and_gradient(plain, content)
    assert not torch.equal(nll, before)
    # And the gradient is the true one: against the slope along it.
    step, direction = 1e-3, gradient / gradient.norm()
    ends = [loss_and_gradient(quantised, content + sign * step * direction)[0] for sign in (1, -1)]
    slope = (ends[0].double() - ends[1].double()).sum() / (2 * step)
    assert slope == pytest.approx(float(gradient.norm()), rel=0.02)


@pytest.mark.parametrize("quantize", [needs(each) for each in QUANTIZE])
def test_a_gradient_is_there_after_a_pass_without_one(quantize):
    quantised = model_of("qwen2").bfloat16()
    quantise(quantised, quantize, "cpu")
    content = torch.randn(2, 16, 64, generator=torch.Generator().manual_seed(1)) * 0.3
    with torch.no_grad():
        quantised(inputs_embeds=content.bfloat16())
    content.requires_grad_()
    loss = quantised(inputs_embeds=content.bfloat16()).logits.float().square().mean()
    (gradient,) = torch.autograd.grad(loss, content)
    assert bool((gradient != 0).all(-1).any())
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("experts", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("quantize", ["int4", "mxfp4"])
def test_experts_are_the_same_however_they_are_multiplied(quantize, experts):
    quantised = model_of("gpt_oss")
    quantise(quantised, quantize, "cpu")
    content = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(1)) * 0.3
    quantised.set_experts_implementation("eager")
    expected = loss_and_gradient(quantised, content)
    quantised.set_experts_implementation(experts)
    for one, other in zip(loss_and_gradient(quantised, content), expected, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["int4", "mxfp4"])
def test_blocks_that_are_made_dense_and_packed_again_are_the_same(form, dtype):
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, 8, 2, 16), dtype=torch.uint8, generator=generator)
    blocks[..., 0] = 0x0F if form == "int4" else 0x77  # the largest there is
    scales = torch.randint(100, 140, (3, 8, 2), dtype=torch.uint8, generator=generator)
    if form == "int4":
        scales = (scales / 1000).to(dtype)
    dense = dense_of(form, blocks, scales, dtype)
    again = dense_of(form, *blocks_of(form, dense), dtype)
    rounding = 0 if form == "mxfp4" else torch.finfo(dtype).eps * 4
    # INT4 from -8 to 7: what would be -8 is the largest of its block, and 7 after it.
    torch.testing.assert_close(again, dense, rtol=0.15 if form == "int4" else 0, atol=rounding)


def test_mxfp4_means_what_transformers_takes_it_for():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, 8, 2, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(100, 140, (3, 8, 2), dtype=torch.uint8, generator=generator)
    for dtype in (torch.float32, torch.bfloat16):
        found = dense_of("mxfp4", blocks, scales, dtype).transpose(1, 2)
        assert torch.equal(found, convert_moe_packed_tensors(blocks, scales, dtype=dtype))


@pytest.mark.parametrize("form", ["int4", "mxfp4"])
def test_no_dense_weight_waits_for_the_backward_pass(form, monkeypatch):
    quantised = model_of("gpt_oss")
    quantise(quantised, form, "cpu")
    made = []

    def remembered(*args):
        dense = dense_of(*args)
        made.append(StorageWeakRef(dense.untyped_storage()))
        return dense

    monkeypatch.setattr("dcm.causal_lm.four_bits.dense_of", remembered)
    content = (torch.randn(1, 16, 64) * 0.3).requires_grad_()
    loss = quantised(inputs_embeds=content, use_cache=False).logits.square().mean()
    forward = len(made)
    assert forward
    assert all(each.expired() for each in made)
    loss.backward()
    assert len(made) > forward
    assert all(each.expired() for each in made)


def test_a_model_without_such_layers_is_refused():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", n_embd=64, n_layer=2, n_head=4, vocab_size=257)
    )
    with pytest.raises(GeneratorError, match=r"quantize='int4'"):
        quantise(model, "int4", "cpu")


def test_a_form_whose_package_is_missing_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("dcm.causal_lm.quantised.find_spec", lambda name: None)
    with pytest.raises(GeneratorError, match=r"pip install 'dynamic-context-memory\[quantised\]'"):
        quantise(None, "nf4", "cpu")


def test_experts_are_found():
    assert [names for _, names in expert_layers(model_of("qwen3_moe"))] == [
        ["gate_up_proj", "down_proj"]
    ] * 2


def test_the_generator_has_it_as_a_field(tmp_path):
    model_of("gpt_oss").save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    make = partial(find("generator", "transformers"), model=str(tmp_path), device="cpu")
    plain, packed = make(), make(quantize="mxfp4", experts_implementation="eager")
    assert build(describe(packed)) == packed
    one, other = (each.lm.model for each in (plain, packed))
    assert other.config._experts_implementation == "eager"
    assert packed.encode("a") == plain.encode("a")
    assert sum(p.nbytes for p in other.parameters()) < 0.6 * sum(p.nbytes for p in one.parameters())


@pytest.mark.parametrize(
    ("architecture", "implementation", "words"),
    [
        ("qwen2", "grouped_mm", "no experts"),
        ("gpt_oss", "deepgemm", "no backward"),
        ("gpt_oss", "nonsense", "nonsense.*not supported"),
    ],
)
def test_experts_that_cannot_multiply_so_are_an_error(architecture, implementation, words):
    with pytest.raises(GeneratorError, match=words):
        choose_experts(model_of(architecture), implementation)
