"""Whether decoded texts mean what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from dcm import (
    Evaluation,
    Evaluator,
    Example,
    Generator,
    GeneratorError,
    Outcome,
    normalised_match,
    token_f1,
)
from dcm.fields import one_of

_MODES = ("question", "answer")


@attrs.frozen
class Semantic(Evaluator):
    """Says for the question and the answer whether the decoded text means the expected one.

    Keys for each of the two that was decoded: `MODE_similarity` in [0, 1] and `MODE_equivalent`.
    A text is equivalent if it matches after the normalisation of the SQuAD script, or if its
    similarity reaches `threshold`. The similarity is

    - without a `model`, the token F1;
    - by "embedding", the cosine, at least 0, of the mean last hidden states of both texts
      (Reimers & Gurevych 2019, arXiv 1908.10084), by a sentence-embedding model;
    - by "nli", the smaller probability of entailment of the two directions, by a model that
      classifies pairs and has a label that begins with "entail".

    An answer is compared with its aliases too, and the best counts. A model's judgement is only
    as good as the model: look at some.

    Attributes:
        model: folder or hub name of the judging model; None for none.
        method: "embedding" or "nli".
        threshold: least similarity of equivalent texts.
        device: a torch device for the judging model.
    """

    model: str | None = None
    method: Literal["embedding", "nli"] = attrs.field(
        default="embedding", validator=one_of("embedding", "nli")
    )
    threshold: float = attrs.field(
        default=0.8, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )
    device: str = "cpu"

    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Evaluation]:
        return [
            self._evaluate(example, outcome)
            for example, outcome in zip(examples, outcomes, strict=True)
        ]

    def _evaluate(self, example: Example, outcome: Outcome) -> Evaluation:
        accepted = {
            "question": (example.question,),
            "answer": (example.answer, *example.aliases),
        }
        found: Evaluation = {}
        for mode in _MODES:
            if mode not in outcome.decoded:
                continue
            text = outcome.decoded[mode]
            similarity = max(self._similarity(text, expected) for expected in accepted[mode])
            match = any(normalised_match(text, expected) for expected in accepted[mode])
            found[f"{mode}_similarity"] = similarity
            found[f"{mode}_equivalent"] = match or similarity >= self.threshold
        return found

    def summarise(self, evaluations: Sequence[Mapping[str, object]]) -> dict[str, float]:
        """The mean of every number: shares of equivalent texts, and mean similarities."""
        numbers: dict[str, list[float]] = {}
        for evaluation in evaluations:
            for key, value in evaluation.items():
                if isinstance(value, int | float):
                    numbers.setdefault(key, []).append(float(value))
        return {f"mean_{key}": fmean(values) for key, values in numbers.items()}

    def _similarity(self, text: str, expected: str) -> float:
        if self.model is None:
            return token_f1(text, expected)
        if not text.strip():
            return 0.0
        if self.method == "nli":
            return min(self._entailment(text, expected), self._entailment(expected, text))
        one, two = self._embedding(text), self._embedding(expected)
        return min(1.0, max(0.0, float(torch.cosine_similarity(one, two, dim=0))))

    @torch.no_grad()
    def _embedding(self, text: str) -> Tensor:
        """[D] float32: the mean of the last hidden states over the text's tokens."""
        tokenizer, model = self._judge
        inputs = tokenizer(text, return_tensors="pt", truncation=True).to(self.device)
        hidden: Tensor = model(**inputs).last_hidden_state
        return hidden[0].float().mean(0)

    @torch.no_grad()
    def _entailment(self, premise: str, hypothesis: str) -> float:
        tokenizer, model = self._judge
        inputs = tokenizer(premise, hypothesis, return_tensors="pt", truncation=True)
        probabilities = model(**inputs.to(self.device)).logits[0].float().softmax(-1)
        return float(probabilities[self._entails])

    @cached_property
    def _entails(self) -> int:
        """The number of the judging model's label for entailment."""
        labels: dict[int, str] = self._judge[1].config.id2label
        for number, label in labels.items():
            if label.lower().startswith("entail"):
                return int(number)
        asked = f"{self.model!r} cannot judge by method 'nli'"
        there = f"Its labels are {', '.join(map(repr, labels.values()))}"
        raise GeneratorError(asked, there, "Choose a model with a label 'entailment'")

    @cached_property
    def _judge(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

        name = self.model or ""
        local = Path(name).exists()
        kind = AutoModelForSequenceClassification if self.method == "nli" else AutoModel
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
            model = kind.from_pretrained(name, local_files_only=local)
        except Exception as error:  # the library raises many kinds
            there = " ".join(str(error).split())
            do = "Give a folder with config.json, weights and tokenizer, or a name on the hub"
            raise GeneratorError(f"the judge {name!r} cannot be loaded", there, do) from error
        return tokenizer, model.to(self.device).eval().requires_grad_(requires_grad=False)
