"""Tokenizers: those that cannot serve are refused with the numbers, all others work."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from dcm import Experiment, GeneratorError, find
from dcm.causal_lm import CausalLM
from dcm.causal_lm.tokens import check_tokenizer, encode
from dcm.testing.doubles import TinyGenerator, byte_tokenizer, save_tiny_model


def word_tokenizer(words):
    """A tokenizer of whole words, with <unk> for all others and </s> for the end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    unknown, end = "<unk>", "</s>"
    vocabulary = {word: number for number, word in enumerate([unknown, end, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, unk_token=unknown, pad_token=end
    )


def saved(folder, tokenizer):
    save_tiny_model(folder)
    tokenizer.save_pretrained(folder)
    return find("generator", "transformers")(model=str(folder), device="cpu")


def refused(tokenizer):
    with pytest.raises(GeneratorError) as caught:
        check_tokenizer(tokenizer, TinyGenerator().lm.model, "the model cannot be loaded")
    return str(caught.value)


def test_an_alphabet_without_the_usual_words_is_a_tokenizer():
    check_tokenizer(word_tokenizer(["7", "8"]), TinyGenerator().lm.model, "it")


def test_tokens_beyond_the_embeddings_are_refused_with_the_numbers():
    message = refused(word_tokenizer([f"w{n}" for n in range(300)]))
    assert "45 tokens beyond its embeddings of 257, up to 'w299', number 301" in message


def test_an_end_beyond_the_embeddings_is_refused_with_its_number():
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    message = refused(tokenizer)
    assert "'<|im_end|>', number 257" in message
    assert "embeddings of 257 tokens" in message


def test_special_tokens_beyond_the_embeddings_do_no_harm(tmp_path):
    """Gemma 3's has one for images, which a model of texts has no embedding of."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    generator = saved(tmp_path, tokenizer)
    ids = generator.encode("an <image>")
    assert max(ids) <= 256
    assert generator.text(ids) == "an <image>"


def test_a_tokenizer_that_never_splits_special_tokens_need_not_be_told_so():
    """As mistral-common's, which refuses the option."""
    whole = byte_tokenizer()

    class Refusing:
        eos_token_id = whole.eos_token_id

        def __call__(self, text, *, split_special_tokens=False, **options):
            if split_special_tokens:
                raise ValueError("`split_special_tokens` is not supported")
            return whole(text, **options)

    assert encode(Refusing(), "text") == encode(whole, "text")


def test_a_text_that_the_tokenizer_cannot_write_is_told_and_never_certified(tmp_path):
    path = tmp_path / "pairs.jsonl"
    pairs = [("a b", "b"), ("a Ü", "b"), ("a b a", "a </s> b")]
    lines = [json.dumps({"question": q, "answer": a}) for q, a in pairs]
    path.write_text("\n".join(lines), encoding="utf-8")
    generator, told = saved(tmp_path / "model", byte_tokenizer()), []
    object.__setattr__(
        generator.lm, "tokenizer", word_tokenizer(["a", "b", "Question:", "Answer:"])
    )
    summary = Experiment(
        generator=generator,
        dataset=find("dataset", "jsonl")(path=str(path)),
        optimizer=find("optimizer", "adam")(lr=0.1),
        slots=8,
        max_steps=200,
    ).run(tmp_path / "run", warn=told.append)
    lines = (tmp_path / "run/results.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    by_question = {result["question"]: result for result in results}
    assert by_question["a b"]["certified"], by_question["a b"]
    assert not by_question["a Ü"]["certified"]
    assert "'a Ü' is read back as 'a <unk>'" in by_question["a Ü"]["reason"]
    assert not by_question["a b a"]["certified"]
    assert "'a </s> b' is read back as 'a'" in by_question["a b a"]["reason"]
    assert summary["failed_reasons"] == {"not what the tokenizer writes": 2}
    (line,) = told
    assert line.startswith("2 of 3 examples cannot be certified")
    # It is not tried again and again: no step could help.
    assert by_question["a Ü"]["attempts"] == 1


@pytest.mark.parametrize(
    ("name", "stated", "positions"),
    [
        ("mpt", {"max_seq_len": 128, "d_model": 64, "n_heads": 4, "n_layers": 2}, 128),
        ("roberta", {"max_position_embeddings": 130, "pad_token_id": 1, "is_decoder": True}, 128),
        ("opt", {"max_position_embeddings": 128, "word_embed_proj_dim": 64}, 128),
        ("bloom", {"n_head": 4, "n_layer": 2}, 1 << 30),
    ],
)
def test_the_context_is_what_the_model_takes(name, stated, positions):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = {} if name in ("mpt",) else sizes
    config = AutoConfig.for_model(name, vocab_size=257, **{**sizes, **stated})
    model = AutoModelForCausalLM.from_config(config)
    assert CausalLM(model.eval(), byte_tokenizer()).context_length == positions


def test_an_end_that_is_not_the_models_is_told(tmp_path):
    """As that of a tokenizer which transformers 5.17 made of SmolLM2's GGUF file."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "a"})
    with pytest.warns(UserWarning, match=r"ends texts by 'a', the model by '<\|endoftext\|>'"):
        saved(tmp_path, tokenizer).encode("b")


class Letters:
    """The tokenizer of a large vocabulary, whose words it may have lost."""

    all_special_ids = (0,)
    eos_token_id = 0

    def __init__(self, split):
        self.split = split

    def get_vocab(self):
        return {str(number): number for number in range(12_000)}

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[1] * len(self.split(text)))


def test_a_tokenizer_that_has_lost_its_words_is_told():
    """As one that transformers 5.17 made of a GGUF file of Gemma 3."""
    model = SimpleNamespace(
        get_input_embeddings=lambda: SimpleNamespace(weight=torch.zeros(12_000, 1))
    )
    check_tokenizer(Letters(str.split), model, "it")
    with pytest.warns(UserWarning, match="11,999 words"):
        check_tokenizer(Letters(list), model, "it")
