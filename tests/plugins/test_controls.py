"""Control wrappers."""

from __future__ import annotations

import attrs
import pytest
import torch

from dcm import DatasetError, Example, GeneratorError, TaskDataset
from dcm.testing.doubles import QuadraticGenerator, TinyGenerator, ToyTask
from dcm_controls.random_init import RandomInit
from dcm_controls.random_tokens import RandomTokens
from dcm_controls.wrong_answer import WrongAnswer
from dcm_nano.generator import Nano


@attrs.frozen
class Fixed(TaskDataset):
    """Given examples."""

    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.examples[index]


# --- random-tokens -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano() -> Nano:
    return Nano(device="cpu")


PAIR = Example("a", "Who wrote the letter to Ada?", "Her brother, in 1834", aliases=("he",))


def test_random_texts_have_as_many_tokens_as_the_texts_they_replace(nano):
    control = RandomTokens(Fixed((PAIR,)), generator=nano)[0]
    for text, original in ((control.question, PAIR.question), (control.answer, PAIR.answer)):
        assert text != original
        assert len(nano.encode(text)) == len(nano.encode(original))
        # What the model is to say can be written: decoding it gives the text back.
        assert nano.text(nano.encode(text)) == text
    assert control.id == "a~random-tokens"
    assert control.aliases == ()


def test_random_texts_depend_on_id_and_seed_alone(nano):
    other = attrs.evolve(PAIR, id="b")
    first, second = RandomTokens(Fixed((PAIR, other)), generator=nano)
    assert first.question != second.question
    assert RandomTokens(Fixed((other, PAIR)), generator=nano)[1] == first
    assert RandomTokens(Fixed((PAIR,)), generator=nano, seed=1)[0].question != first.question


def test_random_tokens_come_from_all_of_the_vocabulary(nano):
    texts = Fixed(tuple(attrs.evolve(PAIR, id=str(number)) for number in range(60)))
    ids = {
        token
        for example in RandomTokens(texts, generator=nano)
        for text in (example.question, example.answer)
        for token in nano.encode(text)[:-1]
    }
    # 60 x 14 draws of about 4,000 tokens hardly ever repeat one, and reach every quarter.
    assert len(ids) > 500
    assert all(any(q * 1024 <= token < (q + 1) * 1024 for token in ids) for q in range(4))


def test_a_random_text_is_never_white_space_alone():
    one = Fixed(tuple(Example(str(n), "x", "y") for n in range(300)))
    assert all(example.answer.strip() for example in RandomTokens(one, generator=TinyGenerator()))


@attrs.frozen
class Mute(QuadraticGenerator):
    """Cannot write what it reads."""

    def text(self, ids):
        return "?"


def test_a_tokenizer_that_cannot_write_random_tokens_is_told():
    with pytest.raises(DatasetError, match=r"id 'a'.*no 28 random tokens"):
        RandomTokens(Fixed((PAIR,)), generator=Mute())[0]


# --- wrong-answer ------------------------------------------------------------------------------


def on(passage: str | None, id: str, answer: str, **more) -> Example:
    return Example(id, f"question {id}", answer, context=passage, **more)


def test_a_wrong_answer_is_that_of_another_question_on_the_passage():
    texts = Fixed(
        (
            on("P", "1", "Paris", aliases=("the City",)),
            on("P", "2", "paris."),  # the same after normalisation
            on("P", "3", "city"),  # an alias of the first
            on("P", "4", "Rome"),
            on("Q", "5", "Oslo"),
            on(None, "6", "Bern"),
        )
    )
    control = WrongAnswer(texts)
    found = {example.id: example for example in control}
    assert found["1~wrong-answer"].answer == "Rome"
    assert found["2~wrong-answer"].answer in ("city", "Rome")
    assert found["1~wrong-answer"].aliases == ()
    assert found["1~wrong-answer"].metadata["right_answer"] == "Paris"
    assert set(found) == {f"{n}~wrong-answer" for n in (1, 2, 3, 4)}
    assert control.skipped == {"without an alternative": 2}


def test_alternatives_that_the_set_has_come_first():
    choice = Fixed((on("P", "1", "blue", metadata={"alternatives": ["Blue", "red", "red", " "]}),))
    assert [example.answer for example in WrongAnswer(choice)] == ["red"]


def test_a_seed_chooses_among_the_alternatives():
    many = Fixed((on(None, "1", "0", metadata={"alternatives": [str(n) for n in range(1, 9)]}),))
    answers = {WrongAnswer(many, seed)[0].answer for seed in range(40)}
    assert "0" not in answers
    assert len(answers) > 3


def test_a_set_without_alternatives_is_told():
    with pytest.raises(DatasetError, match=r"no wrong answer.*Use a set with alternatives"):
        len(WrongAnswer(ToyTask(3)))


# --- random-init -------------------------------------------------------------------------------


def test_random_weights_are_another_draw_of_the_same_architecture():
    trained = TinyGenerator(seed=7)
    random, again, other = RandomInit(trained), RandomInit(trained), RandomInit(trained, seed=1)
    weights = [dict(each.lm.model.named_parameters()) for each in (trained, random, again, other)]
    assert len({tuple((name, w.shape) for name, w in each.items()) for each in weights}) == 1
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[1][name], weights[2][name])
    assert not torch.equal(weights[1][name], weights[0][name])
    assert not torch.equal(weights[1][name], weights[3][name])
    assert random.encode("né") == trained.encode("né")
    assert not any(w.requires_grad for w in weights[1].values())


def test_making_random_weights_leaves_the_process_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert RandomInit(TinyGenerator()).width == 64
    assert torch.equal(torch.rand(3), expected)


def test_a_generator_without_an_architecture_is_told():
    with pytest.raises(GeneratorError, match="QuadraticGenerator cannot be given random weights"):
        RandomInit(QuadraticGenerator()).lm  # noqa: B018 - loading is what fails
