"""The semantic judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dcm import Example, GeneratorError, Outcome, Status
from dcm.testing.doubles import QuadraticGenerator, byte_tokenizer
from dcm_evaluators.semantic import Semantic

EXAMPLE = Example("a", "Who wrote it?", "Ada Marsh", aliases=("Marsh",))


def judged(judge: Semantic, question: str, answer: str) -> dict[str, object]:
    decoded = {"question": question, "answer": answer}
    outcome = Outcome(EXAMPLE, Status.CONVERGED, decoded=decoded)
    (found,) = judge.evaluate(QuadraticGenerator(), [EXAMPLE], [outcome])
    return dict(found)


def test_without_a_model_it_goes_by_normalised_match_and_f1():
    # "the Marsh!" is the alias once normalised; "who wrote this" shares 2 of 3 + 3 words.
    found = judged(Semantic(threshold=0.7), "who wrote this", "the Marsh!")
    assert found == {
        "question_similarity": pytest.approx(2 / 3),
        "question_equivalent": False,
        "answer_similarity": 1.0,
        "answer_equivalent": True,
    }
    assert judged(Semantic(threshold=0.6), "who wrote this", "x")["question_equivalent"] is True


def test_the_summary_has_shares_and_means():
    judge = Semantic()
    found = [judged(judge, "Who wrote it?", "Bob"), judged(judge, "?", "Bob")]
    assert judge.summarise(found) == {
        "mean_question_similarity": 0.5,
        "mean_question_equivalent": 0.5,
        "mean_answer_similarity": 0.0,
        "mean_answer_equivalent": 0.0,
    }
    assert judge.summarise([]) == {}


@pytest.fixture(scope="module")
def tiny_judges(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random encoder, and random classifiers with and without a label for entailment."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    config = {
        "vocab_size": 257,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_labels": 3,
    }
    labels = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    torch.manual_seed(0)
    models = {
        "embedding": BertModel(BertConfig(**config)),
        "nli": BertForSequenceClassification(
            BertConfig(**config, id2label=labels, label2id={v: k for k, v in labels.items()})
        ),
        "unlabelled": BertForSequenceClassification(BertConfig(**config)),
    }
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        byte_tokenizer().save_pretrained(folders[name])
    return folders


def test_an_embedding_model_compares_by_cosine(tiny_judges):
    judge = Semantic(str(tiny_judges["embedding"]), threshold=1.0)
    same = judged(judge, "Who wrote it?", "quite another text")
    assert same["question_similarity"] == pytest.approx(1.0, abs=1e-5)
    assert same["question_equivalent"] is True
    assert 0 <= same["answer_similarity"] < 1
    assert same["answer_equivalent"] is False
    assert judged(judge, "", "Marsh")["question_similarity"] == 0.0


def test_an_nli_model_must_find_entailment_both_ways(tiny_judges):
    judge = Semantic(str(tiny_judges["nli"]), method="nli", threshold=0.9)
    found = judged(judge, "Who wrote it?", "Marsh")
    assert found["question_equivalent"] is True  # by match, whatever the random model says
    assert 0 < found["answer_similarity"] < 0.9
    one = judge._entailment("Ada", "Bob, of all people")
    other = judge._entailment("Bob, of all people", "Ada")
    assert one != other
    assert judge._similarity("Ada", "Bob, of all people") == min(one, other)


def test_a_classifier_without_entailment_is_told(tiny_judges):
    judge = Semantic(str(tiny_judges["unlabelled"]), method="nli")
    with pytest.raises(GeneratorError, match=r"cannot judge by method 'nli'.*LABEL_0"):
        judged(judge, "a", "b")


def test_a_missing_model_is_told(tmp_path):
    with pytest.raises(GeneratorError, match=r"judge .* cannot be loaded"):
        judged(Semantic(str(tmp_path)), "a", "b")
