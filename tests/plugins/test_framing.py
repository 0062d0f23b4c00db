"""Prompts in a chat template: what stands around them is the model's own, and so are losses."""

from __future__ import annotations

import os

import attrs
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import dcm
from dcm import Experiment, GeneratorError, Modes, RunDirectoryError, Strands, UsageError, find
from dcm.testing.doubles import save_tiny_model

CHATML = (
    "{% for message in messages %}<{{ message.role }}>\n{{ message.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<assistant>\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
PARTS = ("<user>\n", "<|endoftext|>\n<assistant>\n<think>\n\n</think>\n\n")
NAMES = ("question", "answer", "question", "question", "answer")
ROWS = (0, 0, 1, 1, 1)
SAMPLES = find("dataset", "samples")(limit=2)
FIRST = SAMPLES[0].id
TEXTS = ("What is it?", "a stone", "a longer text that fills a bucket of its own", "Who?", "7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a tiny model whose tokenizer has a chat template with thinking."""
    folder = save_tiny_model(tmp_path_factory.mktemp("chat"))
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


@pytest.fixture(scope="module")
def load(folder):
    component = find("generator", "transformers")
    return lambda framing="chat", **more: component(
        model=str(folder), device="cpu", framing=framing, **more
    )


@pytest.fixture(scope="module")
def generator(load):
    return load()


@pytest.fixture(scope="module")
def runs(load, tmp_path_factory):
    """Finished runs in either framing."""
    root = tmp_path_factory.mktemp("runs")
    for framing in ("raw", "chat"):
        assert experiment(load(framing)).run(root / framing)["certified_rate"] == 1.0
    return root


def experiment(generator):
    return Experiment(generator=generator, dataset=SAMPLES, slots=48, max_steps=300)


def written_with(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    return find("generator", "transformers")(model=str(folder), device="cpu", framing="chat")


def case(generator, layout):
    leads = Modes(generator, layout).vectors(list(NAMES))
    ids = [generator.encode(text) for text in TEXTS]
    weight = torch.ones(len(ids))
    noise = torch.randn(2, 4, generator.width, generator=torch.Generator().manual_seed(0))
    content = (noise * generator.embedding_scale).requires_grad_()
    return content, Strands(torch.tensor(ROWS), leads, ids, weight, 2, layout, modes=NAMES)


def own_losses(generator, content, strands):
    """Hugging Face's own losses of what the template writes with the prompt in its middle."""
    model = generator.lm.model
    embedding, found = model.get_input_embeddings(), []
    before, behind = (embedding(torch.tensor(ids)) for ids in generator.frame)
    for row, lead, ids in zip(strands.row.tolist(), strands.lead, strands.ids, strict=True):
        parts = [lead[None], content[row]]
        prompt = parts if strands.layout == "prefix" else parts[::-1]
        sequence = torch.cat([before, *prompt, behind, embedding(torch.tensor(ids))])
        labels = torch.tensor([-100] * (len(sequence) - len(ids)) + list(ids))
        found.append(model(inputs_embeds=sequence[None], labels=labels[None]).loss)
    return torch.stack(found)


def assert_losses_are_the_models_own(generator, layout):
    content, strands = case(generator, layout)
    found, own = generator.score(content, strands).nll, own_losses(generator, content, strands)
    torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-5)
    (gradient,), (reference,) = (torch.autograd.grad(nll.sum(), content) for nll in (found, own))
    assert (gradient - reference).norm() < 1e-4 * reference.norm()


@pytest.mark.parametrize("packed", [None, True], ids=["padded", "packed"])
@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_loss_and_gradient_are_the_models_own(load, layout, packed):
    generator = load()
    object.__setattr__(generator, "lm", attrs.evolve(generator.load(), packed=packed))
    assert_losses_are_the_models_own(generator, layout)
    if packed:
        assert set(generator.trials["packed"].values()) == {"shared"}


def test_the_frame_is_what_the_template_writes_around_a_text_with_thinking_off(generator):
    tokenizer = generator.lm.tokenizer
    assert tuple(tokenizer.decode(list(ids)) for ids in generator.frame) == PARTS


def test_the_context_holds_the_frame(generator, load):
    around = sum(map(len, generator.frame))
    assert generator.context_length == load("raw").context_length - around
    fits = generator.context_length - 4 - 1
    content, strands = case(generator, "prefix")
    ids = generator.encode("a" * (fits - 1))
    assert generator.score(content, attrs.evolve(strands, ids=[ids] * 5)).nll.isfinite().all()
    with pytest.raises(GeneratorError, match=rf"beside the {around} of its chat template"):
        generator.score(content, attrs.evolve(strands, ids=[(*ids, 5)] * 5))


def test_what_is_certified_is_what_the_plain_library_writes_in_the_template(runs, load):
    generator = load()
    model = generator.lm.model
    before, behind = (generator.embed(torch.tensor(ids)) for ids in generator.frame)
    files = (runs / "chat" / "content").glob("*.safetensors")
    saved = {key: tensor for file in files for key, tensor in load_file(file).items()}
    for example in SAMPLES:
        for mode, text in (("question", example.question), ("answer", example.answer)):
            prompt = [saved[f"mode/{mode}"][None], saved[f"content/{example.id}"]]
            ids = model.generate(
                inputs_embeds=torch.cat([before, *prompt, behind])[None],
                max_new_tokens=len(generator.encode(text)),
                do_sample=False,
            )
            assert generator.text(ids[0].tolist()) == text


def test_an_export_is_the_whole_prompt(runs, generator, tmp_path):
    memory = dcm.open(runs / "chat")
    memory.export(tmp_path / "out.safetensors", "question")
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        found, about = file.get_tensor(FIRST), file.metadata()
    before, behind = (generator.embed(torch.tensor(ids)) for ids in generator.frame)
    item = memory[FIRST]
    wanted = torch.cat([before, item.mode_vector("question")[None], item.content, behind])
    assert torch.equal(found, wanted)
    assert about["framing"] == "chat"


def test_contents_of_another_framing_are_told_apart(runs, load):
    with pytest.raises(RunDirectoryError, match=r'framing was "chat", now it is "raw"'):
        experiment(load("raw")).run(runs / "chat", resume=True)
    with pytest.raises(RunDirectoryError, match=r"different models.*framing="):
        dcm.open(runs / "raw", runs / "chat")
    with pytest.raises(RunDirectoryError, match=r"framing=chat.*given raw"):
        dcm.open(runs / "chat", generator=load("raw"))
    assert dcm.open(runs / "chat", generator=load()).generate([FIRST])
    assert dcm.open(runs / "chat").generate([FIRST]) == [SAMPLES[0].answer]


def test_another_template_is_another_model(generator, load, tmp_path):
    folder = save_tiny_model(tmp_path / "other")
    other = written_with(folder, CHATML.replace("<assistant>", "<reply>"))
    raw = find("generator", "transformers")(model=str(folder), device="cpu")
    assert raw.fingerprint == load("raw").fingerprint
    assert len({generator.fingerprint, other.fingerprint, raw.fingerprint}) == 3


def test_a_template_that_writes_the_date_is_the_same_tomorrow(tmp_path):
    dated = "{{ strftime_now('%d %b %Y, %Y-%m-%d') }}|" + CHATML
    generator = written_with(save_tiny_model(tmp_path / "dated"), dated)
    before = generator.lm.tokenizer.decode(list(generator.frame[0]))
    assert before == f"26 Jul 2024, 2024-07-26|{PARTS[0]}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[1].content }}", "chat template says: .*"),
        ("<user>", "has no place for the user's text"),
        ("<user>{{ messages[0].content }}", "has nothing behind the user's text"),
    ],
)
def test_a_template_that_cannot_stand_around_a_prompt_is_refused(tmp_path, template, said):
    generator = written_with(save_tiny_model(tmp_path / "odd"), template)
    with pytest.raises(GeneratorError, match=rf"{said}.*framing='raw'"):
        _ = generator.context_length


def test_without_a_template_the_error_says_what_to_do(tmp_path):
    folder = save_tiny_model(tmp_path / "none")
    generator = find("generator", "transformers")(model=str(folder), device="cpu", framing="chat")
    with pytest.raises(GeneratorError, match=r"no chat template.*Use framing='raw'"):
        experiment(generator).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_framing_that_is_none_is_refused(folder):
    with pytest.raises((UsageError, ValueError), match=r"framing must be 'raw' or 'chat'"):
        find("generator", "transformers")(model=str(folder), framing="alpaca")


@pytest.mark.skipif(
    not os.environ.get("DCM_TEST_CHAT_FOLDER"), reason="DCM_TEST_CHAT_FOLDER names no chat model"
)
def test_a_real_chat_model():
    """SmolLM2-135M-Instruct, say: as a folder, without a network."""
    folder = os.environ["DCM_TEST_CHAT_FOLDER"]
    generator = find("generator", "transformers")(model=folder, device="cpu", framing="chat")
    tokenizer = generator.lm.tokenizer
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How high is it?"}],
        add_generation_prompt=True,
        return_dict=False,
        enable_thinking=False,
    )
    before, behind = generator.frame
    assert (*before, *generator.encode("How high is it?")[:-1], *behind) == tuple(ids)
    assert_losses_are_the_models_own(generator, "prefix")
