"""Controls, the paraphrase objective and the semantic judge under their contracts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcm import Evaluator, TaskDataset
from dcm.testing.contracts import (
    CausalLMContract,
    DatasetContract,
    EvaluatorContract,
)
from dcm.testing.doubles import save_tiny_model
from dcm_controls.random_init import RandomInit
from dcm_controls.random_tokens import RandomTokens
from dcm_controls.wrong_answer import WrongAnswer
from dcm_evaluators.semantic import Semantic
from dcm_nano.generator import Nano
from dcm_squad.squad import Squad
from dcm_tables.jsonl import Jsonl
from dcm_transformers.generator import Transformers

PAIRS = {"What colour is snow?": "white", "How many legs has a hen?": "2", "Où ?": "à Orléans"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Transformers:
    return Transformers(str(save_tiny_model(tmp_path_factory.mktemp("tiny"))), device="cpu")


class TestRandomTokens(DatasetContract):
    covers = "dataset/random-tokens"

    @pytest.fixture(params=["nano", "tiny"])
    def dataset(
        self, request: pytest.FixtureRequest, tmp_path: Path, tiny: Transformers
    ) -> TaskDataset:
        path = tmp_path / "pairs.jsonl"
        lines = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        generator = tiny if request.param == "tiny" else Nano(device="cpu")
        return RandomTokens(Jsonl(str(path)), generator=generator, seed=3)


class TestWrongAnswer(DatasetContract):
    covers = "dataset/wrong-answer"

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> TaskDataset:
        qas = [
            {"id": f"q{n}", "question": q, "answers": [{"text": a, "answer_start": 0}]}
            for n, (q, a) in enumerate(PAIRS.items())
        ]
        alone = {**qas[0], "id": "alone"}
        passages = [{"context": "One.", "qas": qas}, {"context": "Two.", "qas": [alone]}]
        path = tmp_path / "squad.json"
        path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": passages}]}))
        return WrongAnswer(Squad(path=str(path)), seed=1)


@pytest.fixture(scope="module")
def untrained(tiny: Transformers) -> RandomInit:
    return RandomInit(tiny, seed=1)


class TestRandomInit(CausalLMContract):
    covers = "generator/random-init"

    @pytest.fixture
    def generator(self, untrained: RandomInit) -> RandomInit:
        return untrained


class TestSemantic(EvaluatorContract):
    covers = "evaluator/semantic"

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return Semantic(threshold=0.5)
