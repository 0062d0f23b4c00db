"""Any Hugging Face causal language model: its losses are the model's own, and so are its texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcm import (
    Experiment,
    GeneratorError,
    Modes,
    Strands,
    UsageError,
    bucket,
    build,
    describe,
    find,
    solve,
)
from dcm.causal_lm.generator_loss import generator_loss
from dcm.testing.doubles import ToyTask, save_tiny_model

ARCHITECTURES = ("qwen2", "llama", "gpt_neox", "gpt2")
TEXTS = ("a", "what is it?", "a text of more than one bucket: " * 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save_tiny_model(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def load(folders):
    """A component for one of the models; each is loaded once."""
    made = {}

    def loaded(name, **options):
        key = (name, *sorted(options.items()))
        if key not in made:
            component = find("generator", "transformers")
            made[key] = component(model=str(folders[name]), device="cpu", **options)
        return made[key]

    return loaded


@pytest.fixture(params=ARCHITECTURES)
def generator(request, load):
    return load(request.param)


def content_for(generator, rows=1, slots=3, seed=0):
    noise = torch.randn(rows, slots, generator.width, generator=torch.Generator().manual_seed(seed))
    return noise * generator.embedding_scale


def strands_for(generator, texts, layout="prefix", rows=None, temperature=1.0):
    modes = Modes(generator, layout)
    return Strands(
        row=torch.tensor(rows or [0] * len(texts)),
        lead=modes.vectors(["question"] * len(texts)),
        ids=[generator.encode(text) for text in texts],
        weight=torch.ones(len(texts)),
        rows=max(rows or [0]) + 1,
        layout=layout,
        temperature=temperature,
    )


def own_loss(model, prompt, ids):
    """Hugging Face's own loss of [prompt, target] where only the target is labelled."""
    embedded = torch.cat([prompt, model.get_input_embeddings()(torch.tensor(ids))])
    labels = torch.tensor([-100] * len(prompt) + list(ids))
    return model(inputs_embeds=embedded[None], labels=labels[None]).loss


def prompt_of(content, strands, layout):
    lead = strands.lead[:1]
    return torch.cat([lead, content[0]] if layout == "prefix" else [content[0], lead])


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("text", TEXTS)
def test_loss_and_gradient_are_the_models_own(generator, text, layout):
    content = content_for(generator).requires_grad_()
    strands = strands_for(generator, [text], layout)
    scores = generator.score(content, strands)
    (gradient,) = torch.autograd.grad(scores.nll.sum(), content)

    expected = own_loss(generator.lm.model, prompt_of(content, strands, layout), strands.ids[0])
    (expected_gradient,) = torch.autograd.grad(expected, content)
    assert scores.nll.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)

    plain = generator_loss(
        generator.lm.model, torch.tensor(strands.ids[0]), prompt_of(content, strands, layout)
    )
    assert scores.nll.item() == pytest.approx(plain.item(), abs=1e-5)


def test_a_batch_of_rows_and_strands_is_its_parts(generator):
    """Strands share rows, in another order, and a row has none of another's loss."""
    content = content_for(generator, rows=3)
    rows = [2, 0, 1, 0]
    texts = [TEXTS[0], TEXTS[2], TEXTS[1], TEXTS[1]]
    together = generator.score(content, strands_for(generator, texts, rows=rows))
    for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
        alone = generator.score(content[row : row + 1], strands_for(generator, [text]))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[place : place + 1], other)


def test_double_precision_agrees_with_the_reference(load):
    generator = load("qwen2", dtype="float64")
    assert generator.dtype == torch.float64
    content = content_for(generator)
    strands = strands_for(generator, [TEXTS[1]])
    found = generator.score(content, strands).nll.item()
    prompt = prompt_of(content, strands, "prefix").double()
    expected = own_loss(generator.lm.model, prompt, strands.ids[0]).item()
    assert found == pytest.approx(expected, abs=1e-6)
    single = load("qwen2").score(content, strands).nll.item()
    assert single == pytest.approx(expected, abs=1e-5)


def test_half_precision_is_near(load):
    half, full = load("qwen2", dtype="bfloat16"), load("qwen2")
    assert half.dtype == torch.bfloat16
    assert half.lm.model.dtype == torch.bfloat16
    content = content_for(full, rows=2)
    strands = strands_for(full, list(TEXTS[1:]), rows=[0, 1])
    found, expected = half.score(content, strands), full.score(content, strands)
    assert found.nll.dtype == torch.float32
    torch.testing.assert_close(found.nll, expected.nll, rtol=0.02, atol=0)
    assert half.logit_noise > full.logit_noise
    assert half.embed(torch.tensor([1])).dtype == torch.float32


def test_margin_and_exactness_are_those_of_the_logits(generator):
    content = content_for(generator)
    strands = strands_for(generator, [TEXTS[1]])
    ids = torch.tensor(strands.ids[0])
    scores = generator.score(content, strands)
    model = generator.lm.model
    prompt = prompt_of(content, strands, "prefix")
    logits = model(
        inputs_embeds=torch.cat([prompt, model.get_input_embeddings()(ids)])[None]
    ).logits[0, len(prompt) - 1 : -1]
    others = logits.clone().scatter_(1, ids[:, None], float("-inf")).amax(1)
    margin = (logits.gather(1, ids[:, None])[:, 0] - others).min()
    torch.testing.assert_close(scores.margin[0], margin, rtol=1e-4, atol=1e-4)
    assert not scores.exact.item()


def test_another_temperature_changes_the_gradient_alone(generator):
    content = content_for(generator).requires_grad_()
    plain = generator.score(content, strands_for(generator, [TEXTS[1]]))
    sharp = generator.score(content, strands_for(generator, [TEXTS[1]], temperature=0.5))
    for one, other in zip(plain, sharp, strict=True):
        assert torch.equal(one, other)
    (first,) = torch.autograd.grad(plain.nll.sum(), content)
    (second,) = torch.autograd.grad(sharp.nll.sum(), content)
    strands = strands_for(generator, [TEXTS[1]])
    ids = torch.tensor(strands.ids[0])
    prompt = prompt_of(content, strands, "prefix")
    model = generator.lm.model
    embedded = torch.cat([prompt, model.get_input_embeddings()(ids)])[None, :-1]
    logits = model(inputs_embeds=embedded).logits[0, len(prompt) - 1 :]
    loss = 0.5 * torch.nn.functional.cross_entropy(logits / 0.5, ids)
    (expected,) = torch.autograd.grad(loss, content)
    torch.testing.assert_close(second, expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(first, second, rtol=1e-2)


# peft asks a model by a name that transformers has renamed.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_prompt_tuning_gives_the_same_loss(folders, load):
    """The mode and the content as the K + 1 virtual tokens of another implementation."""
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    generator = load("qwen2")
    content = content_for(generator, slots=4)
    strands = strands_for(generator, [TEXTS[1]])
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folders["qwen2"]), config).eval()
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(
            prompt_of(content, strands, "prefix")
        )
        ids = torch.tensor(strands.ids[0])[None]
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
    assert generator.score(content, strands).nll.item() == pytest.approx(loss.item(), abs=1e-5)


def test_a_content_of_real_embeddings_scores_as_those_tokens_do(generator):
    words = generator.encode("plain words")[:-1]
    target = generator.encode("target")
    embedded = generator.embed(torch.tensor(words))
    strands = Strands(
        row=torch.tensor([0]),
        lead=embedded[:1],
        ids=[target],
        weight=torch.ones(1),
        rows=1,
    )
    found = generator.score(embedded[None, 1:], strands).nll.item()
    ids = torch.tensor([*words, *target])[None]
    labels = ids.clone()
    labels[:, : len(words)] = -100
    assert found == pytest.approx(
        generator.lm.model(input_ids=ids, labels=labels).loss.item(), abs=1e-5
    )


def test_a_mode_alone_can_be_scored(generator):
    """K = 0: the prompt is one vector."""
    strands = strands_for(generator, [TEXTS[1]])
    found = generator.score(torch.zeros(1, 0, generator.width), strands).nll.item()
    expected = own_loss(generator.lm.model, strands.lead, strands.ids[0]).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_decoding_is_the_models_own(generator, layout):
    content = content_for(generator, rows=6)
    modes = Modes(generator, layout)
    lead = modes.vectors(["question", "answer"] * 3)
    found = generator.decode(content, lead, 20, layout)
    assert len(found) == 6
    assert len(set(found)) > 1
    for text, own, vector in zip(found, content, lead, strict=True):
        parts = [vector[None], own] if layout == "prefix" else [own, vector[None]]
        ids = generator.lm.model.generate(
            inputs_embeds=torch.cat(parts)[None],
            do_sample=False,
            max_new_tokens=20,
            pad_token_id=generator.lm.end,
        )
        assert text == generator.text(ids[0].tolist())


def test_decoded_texts_stop_at_their_end(load):
    """A content that generates a short text, beside others that go on."""
    generator = load("qwen2")
    (outcome,) = solve(
        generator,
        ToyTask(1),
        objective=find("objective", "single")(mode="answer"),
        optimizer=find("optimizer", "adam")(lr=0.1),
        slots=8,
        max_steps=300,
    )
    assert outcome.exact
    content = torch.cat([content_for(generator, slots=8), outcome.content[None]])
    texts = generator.decode(content, Modes(generator).vectors(["answer", "answer"]), 30)
    assert texts[1] == "0"
    assert len(texts[0]) > 1


def test_decoding_stays_within_the_context(load):
    generator = load("gpt2")
    content = content_for(generator, slots=250)
    (text,) = generator.decode(content, Modes(generator).vectors(["answer"]), 100)
    assert len(text) <= 5
    assert generator.decode(content[:0], Modes(generator).vectors(["answer"])[:0], 5) == []


def test_what_does_not_fit_is_refused(generator):
    assert generator.context_length == 256
    strands = strands_for(generator, ["x" * 250])
    with pytest.raises(GeneratorError, match=r"257 positions.*takes 256.*fewer slots"):
        generator.score(content_for(generator, slots=5), strands)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_target_may_end_at_the_last_position(generator, layout):
    """Its padding would reach beyond it, where some models have no positions."""
    content = content_for(generator, slots=4)
    strands = strands_for(generator, ["x" * 250], layout)
    assert 4 + 1 + len(strands.ids[0]) == generator.context_length
    assert 4 + bucket(len(strands.ids[0])) > generator.context_length
    found = generator.score(content, strands).nll.item()
    prompt, ids = prompt_of(content, strands, layout), torch.tensor(strands.ids[0])
    expected = generator_loss(generator.lm.model, ids, prompt).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_texts_become_tokens_and_texts_again(generator):
    for text in (
        *TEXTS,
        "ünïcode ✓ 漢字",
        "  spaces  ",
        "line\nbreak",
        "<|endoftext|>",
        "a<|endoftext|>b",
    ):
        ids = generator.encode(text)
        assert ids[-1] == 256
        assert 256 not in ids[:-1]
        assert max(ids) < generator.vocabulary
        assert generator.text(ids) == text
        assert generator.text([*ids, *ids]) == text


def test_sizes_are_the_models(generator):
    table = generator.lm.model.get_input_embeddings().weight
    assert (generator.vocabulary, generator.width) == tuple(table.shape) == (257, 64)
    assert generator.embedding_scale == pytest.approx(table.std(correction=0).item(), rel=1e-5)
    torch.testing.assert_close(generator.embed(torch.tensor([[3, 5]])), table[[3, 5]][None])
    assert not generator.embed(torch.tensor([3])).requires_grad
    assert generator.device == torch.device("cpu")


def test_embeddings_that_the_model_scales_count_as_it_scales_them(tmp_path):
    """Gemma 3 multiplies its embeddings by the root of their width; contents must start there."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    from dcm.causal_lm import CausalLM
    from dcm.testing.doubles import byte_tokenizer

    config = Gemma3TextConfig(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
    )
    lm = CausalLM(Gemma3ForCausalLM(config).eval(), byte_tokenizer())
    embedded = lm.embed(torch.arange(257))
    assert lm.embedding_scale == pytest.approx(embedded.std(correction=0).item(), rel=1e-4)
    assert lm.embedding_scale == pytest.approx(
        8 * lm.model.get_input_embeddings().weight.std().item(), rel=1e-2
    )


def test_logits_are_computed_at_target_positions_alone(generator, logit_lines):
    content, strands = content_for(generator, slots=16), strands_for(generator, [TEXTS[2]] * 2)
    generator.score(content, strands)  # what is tried once of a model
    with logit_lines(generator.vocabulary) as logits:
        generator.score(content, strands)
    assert logits.lines == [2 * (len(TEXTS[2]) + 1)]


def test_nothing_is_loaded_before_it_is_needed():
    component = find("generator", "transformers")(model="/no/such/folder", device="cpu")
    assert build(describe(component)) == component
    with pytest.raises(GeneratorError, match=r"/no/such/folder.*no such folder.*Check the path"):
        component.encode("text")


def damaged(folder: Path, tmp_path: Path, how: str) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = copy / "model.safetensors"
    if how == "no weights":
        weights.unlink()
    elif how == "torn weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "no config":
        (copy / "config.json").unlink()
    elif how == "other sizes":
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    elif how == "no tokenizer":
        for file in copy.glob("*token*"):
            file.unlink()
    else:
        tensors = load_file(weights)
        name = next(name for name in sorted(tensors) if how in name)
        del tensors[name]
        save_file(tensors, weights, metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    "how",
    ["no weights", "torn weights", "no config", "other sizes", "no tokenizer", "norm", "down_proj"],
)
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_an_incomplete_folder_is_one_line_and_never_random_weights(
    folders, tmp_path, architecture, how
):
    folder = damaged(folders[architecture], tmp_path, how)
    with pytest.raises(GeneratorError) as caught:
        find("generator", "transformers")(model=str(folder), device="cpu").encode("text")
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert "Give" in message


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_a_folder_without_tokenizer_is_no_model(folders, tmp_path, architecture):
    """Some tokenizer classes would make one with an empty vocabulary: every text nothing."""
    folder = damaged(folders[architecture], tmp_path, "no tokenizer")
    with pytest.raises(GeneratorError, match="tokenizer"):
        find("generator", "transformers")(model=str(folder), device="cpu").encode("text")


def test_a_name_that_is_a_folder_is_never_looked_up_elsewhere(folders, monkeypatch):
    monkeypatch.chdir(folders["qwen2"].parent)
    assert find("generator", "transformers")(model="qwen2", device="cpu").width == 64


def test_it_runs_in_an_experiment(load, tmp_path):
    summary = Experiment(
        generator=load("gpt2"),
        dataset=find("dataset", "samples")(limit=2),
        optimizer=find("optimizer", "adam")(),
        slots=2,
        max_steps=2,
        on_error="skip",
    ).run(tmp_path / "run")
    assert summary["finished"] == 2
    assert summary["dtype"] == "float32"


def test_a_model_that_is_loaded_already(folders):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = folders["qwen2"]
    Transformers = find("generator", "transformers")  # noqa: N806 - a class

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    generator = Transformers.of(model, AutoTokenizer.from_pretrained(folder))
    assert generator.lm.model is model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    written = Transformers(str(folder), dtype="float32", device="cpu")
    assert generator == written
    assert eval(repr(generator)) == written  # noqa: S307 - our own text
    ids = torch.tensor([1, 2])
    assert torch.equal(generator.embed(ids), written.embed(ids))
    with pytest.raises(UsageError, match="a model is expected, not 3"):
        Transformers.of(3, generator.lm.tokenizer)
    with pytest.raises(UsageError, match="a tokenizer is expected, not None"):
        Transformers.of(model, None)


@pytest.mark.parametrize(
    ("device", "told"),
    [("cuda", "no CUDA GPU"), ("cuda:7", "CUDA GPU"), ("gpu", "There is no such device")],
)
def test_a_device_that_is_not_there_is_told(folders, monkeypatch, device, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    generator = find("generator", "transformers")(str(folders["qwen2"]), device=device)
    with pytest.raises(GeneratorError, match=f"device '{device}' was asked for.*{told}"):
        generator.encode("a")
