"""Products while strands are scored: near the model's own, with nothing else changed."""

from __future__ import annotations

import attrs
import pytest
import torch

from dcm import Modes, Strands, find, solve
from dcm.causal_lm import CausalLM
from dcm.causal_lm.products import product
from dcm.errors import GeneratorError
from dcm.testing.doubles import TinyGenerator, byte_tokenizer


@pytest.fixture
def has_fp8(monkeypatch):
    """A CPU multiplies in fp8 as well, slowly."""
    monkeypatch.setattr("dcm.causal_lm.products._has_fp8", lambda device: True)


def model_in(compute):
    """A model that is the same each time, and its generator."""
    generator = TinyGenerator()
    lm = attrs.evolve(generator.lm, compute=compute)
    return lm, generator


def strands(generator, layout="prefix"):
    modes = Modes(generator, layout)
    return Strands(
        row=torch.tensor([0, 0, 1, 1]),
        lead=modes.vectors(["question", "answer"] * 2),
        ids=[generator.encode(text) for text in ("why is that?", "so", "and when?", "at noon")],
        weight=torch.ones(4),
        rows=2,
        layout=layout,
    )


def few_strands(width):
    row, ids = torch.tensor([0, 1]), [(1, 2, 3), (4, 5, 6, 7)]
    return Strands(row, torch.zeros(2, width), ids, torch.ones(2), rows=2)


def contents(seed=0, width=64):
    return torch.randn(2, 6, width, generator=torch.Generator().manual_seed(seed)) * 0.3


def test_float32_products_are_as_exact_as_torchs():
    """Whoever multiplies: to what float32 rounds off, in both directions, with any weight."""
    random = torch.Generator().manual_seed(0)
    for lines, width, out in [(1, 64, 32), (2, 256, 832), (57, 832, 256), (300, 256, 4096)]:
        one = torch.randn(lines, width, generator=random)
        weights = torch.randn(out, width, generator=random)
        for weight in (weights, torch.randn(width, out, generator=random).t()):
            exact = one.double() @ weight.double().t()
            torch.testing.assert_close(
                product(one, weight).double(), exact, atol=3e-7 * width, rtol=0
            )
            spread = one[:1].expand(lines, width)  # as a gradient of a sum is
            torch.testing.assert_close(product(spread, weight)[-1], product(spread, weight)[0])


def test_a_line_has_the_same_product_in_any_company():
    random = torch.Generator().manual_seed(0)
    lines, weight = torch.randn(200, 64, generator=random), torch.randn(48, 64, generator=random)
    whole = product(lines, weight)
    for count in (16, 17, 31, 64, 101):
        assert torch.equal(product(lines[-count:], weight), whole[-count:])


@pytest.mark.parametrize("compute", [None, "bfloat16"])
def test_two_that_hold_one_model_score_alike(compute):
    lm, generator = model_in(compute)
    again = attrs.evolve(lm, tokenizer=byte_tokenizer())
    content = contents().requires_grad_()
    found = [each.score(content, strands(generator)).nll for each in (lm, again, lm)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("compute", [None, "bfloat16"])
def test_hooks_on_a_layer_stay(compute):
    lm = TinyGenerator().lm
    layer, seen = lm.model.model.layers[0].mlp.up_proj, []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    attrs.evolve(lm, compute=compute).score(contents().requires_grad_(), strands(TinyGenerator()))
    assert seen


def test_a_model_that_changes_its_dtype_scores_in_it():
    lm, generator = model_in(None)
    lm.model.double()
    scores = lm.score(contents(), strands(generator))
    torch.testing.assert_close(
        scores.nll.float(), TinyGenerator().score(contents(), strands(generator)).nll
    )


@pytest.mark.parametrize(("compute", "near"), [("bfloat16", 0.01), ("fp8", 0.15)])
@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.usefixtures("has_fp8")
def test_steps_are_near_the_models_own(compute, near, layout):
    """On a trained model: a random one magnifies what is cut off."""
    gradients, losses = [], []
    for each in (None, compute):
        generator = find("generator", "nano")(compute=each)
        content = contents(width=generator.width).requires_grad_()
        scores = generator.score(content, strands(generator, layout))
        gradients.append(torch.autograd.grad(scores.nll.sum(), content)[0].flatten(1))
        losses.append(scores.nll.detach())
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=near, atol=0)
    assert bool((torch.nn.functional.cosine_similarity(*gradients) > 1 - near).all())


@pytest.mark.parametrize("compute", ["bfloat16", "fp8"])
@pytest.mark.usefixtures("has_fp8")
def test_what_needs_no_gradient_is_the_models_own(compute):
    """Baselines, decoding and whatever else a user does with the model."""
    (plain, generator), (lm, _) = model_in(None), model_in(compute)
    content, lead = contents(), Modes(generator).vectors(["question", "answer"])
    lm.score(contents(1).requires_grad_(), strands(generator))
    assert torch.equal(
        lm.score(content, strands(generator)).nll, plain.score(content, strands(generator)).nll
    )
    with torch.no_grad():
        again = lm.score(content.clone().requires_grad_(), strands(generator))
    assert torch.equal(again.nll, plain.score(content, strands(generator)).nll)
    assert lm.decode(content, lead, 12) == plain.decode(content, lead, 12)
    embedded = content.clone().requires_grad_()
    assert torch.equal(
        lm.model(inputs_embeds=embedded).logits, plain.model(inputs_embeds=content).logits
    )
    assert lm.model.state_dict().keys() == plain.model.state_dict().keys()


def test_contents_made_in_bfloat16_are_certified_in_the_models_own_numbers(tmp_path):
    from dcm.running.certify import Certifier
    from dcm.running.run_directory import RunDirectory

    nano = find("generator", "nano")
    fast, plain = nano(compute="bfloat16"), nano()
    examples = list(find("dataset", "samples")())[:6]
    modes = Modes(fast)
    verify = Certifier(
        fast, find("objective", "joint")(), modes, RunDirectory.create(tmp_path / "run", {})
    )
    outcomes = list(solve(fast, examples, modes=modes, verify=verify))
    assert [outcome.certified for outcome in outcomes] == [True] * len(examples)
    lead = Modes(plain).vectors(["answer"] * len(examples))
    content = torch.stack([outcome.content for outcome in outcomes])
    assert plain.decode(content, lead, 64) == [outcome.example.answer for outcome in outcomes]


@pytest.mark.usefixtures("has_fp8")
def test_sizes_that_fp8_does_not_take_stay_as_they_are():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=257, num_hidden_layers=1, num_key_value_heads=2, **sizes)
    )
    lm = CausalLM(model.eval().requires_grad_(requires_grad=False), byte_tokenizer(), compute="fp8")
    content = contents(width=32).requires_grad_()
    (gradient,) = torch.autograd.grad(lm.score(content, few_strands(32)).nll.sum(), content)
    assert bool(gradient.isfinite().all())


def test_another_compute_of_the_same_model_takes_the_place_of_the_first():
    lm, generator = model_in("bfloat16")
    content = contents().requires_grad_()
    fewer = lm.score(content, strands(generator)).nll
    plain = attrs.evolve(lm, compute=None).score(content, strands(generator)).nll
    assert not torch.equal(fewer, plain)
    torch.testing.assert_close(lm.score(content, strands(generator)).nll, plain)
    again = attrs.evolve(lm, compute="bfloat16").score(content, strands(generator)).nll
    assert torch.equal(again, fewer)


def test_fp8_needs_a_device_that_has_it():
    with pytest.raises(GeneratorError, match=r"compute='fp8'.*cpu does not multiply in fp8"):
        model_in("fp8")


def test_a_model_without_linear_layers_is_refused():
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 257, "n_embd": 16, "n_layer": 2, "n_head": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **sizes))
    with pytest.raises(GeneratorError, match=r"no torch.nn.Linear.*Leave compute out"):
        CausalLM(model, byte_tokenizer(), compute="bfloat16")


@pytest.mark.parametrize("name", ["nano", "transformers"])
def test_another_compute_is_refused(name):
    options = {"model": "."} if name == "transformers" else {}
    with pytest.raises(ValueError, match="compute"):
        find("generator", name)(compute="int4", **options)
