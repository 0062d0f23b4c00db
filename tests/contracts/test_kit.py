"""The contracts refuse components that break them, and the strategies give what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dcm import (
    Component,
    ConvergenceCriterion,
    Evaluation,
    Evaluator,
    Example,
    Generator,
    Layout,
    Observation,
    Optimizer,
    Outcome,
    RowKey,
    Space,
    State,
    Strands,
    StrandScores,
    Target,
    TaskDataset,
    hookimpl,
)
from dcm.plugins import Plugins
from dcm.solver.state import join, take
from dcm.testing.contracts import (
    ComponentContract,
    CriterionContract,
    DatasetContract,
    EvaluatorContract,
    GeneratorContract,
    ObjectiveContract,
    OptimizerContract,
)
from dcm.testing.contracts.optimizer import same
from dcm.testing.doubles import QuadraticObjective, TinyGenerator, ToyTask
from dcm.testing.strategies import states


class MeanOverBatch(QuadraticObjective):
    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return super().loss(nll, strands) / strands.rows


class WithoutWeights(QuadraticObjective):
    def loss(self, nll: Tensor, strands: Strands) -> Tensor:
        return nll.new_zeros(strands.rows).index_add(0, strands.row, nll)


class Untargeted(QuadraticObjective):
    def targets(self, example: Example) -> tuple[Target, ...]:
        return ()


@attrs.frozen
class Descent(Optimizer):
    """Gradient descent, as it should be.

    Attributes:
        lr: the learning rate.
        seen: what it remembers although it must not.
    """

    lr: float = 0.1
    seen: list[int] = attrs.field(factory=list)

    @property
    def attempts(self) -> int:
        return 2

    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        shape = (space.slots, space.width)
        return torch.stack([torch.randn(shape, generator=key.random()) for key in keys])

    def init(self, content: Tensor, space: Space) -> State:
        return {"steps": content.new_zeros(len(content))}

    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return content - self.lr * gradient, {"steps": state["steps"] + 1}


class GlobalRandomness(Descent):
    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        return torch.randn(len(keys), space.slots, space.width)


class SameStart(Descent):
    def start(self, keys: Sequence[RowKey], space: Space, texts: Sequence[Tensor]) -> Tensor:
        return torch.ones(len(keys), space.slots, space.width)


class InPlace(Descent):
    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return content.sub_(self.lr * gradient), state


class NormOfTheBatch(Descent):
    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return super().step(content, gradient / (gradient.norm() + 1), state)


class SharedSteps(Descent):
    def init(self, content: Tensor, space: Space) -> State:
        return {"steps": torch.zeros(1)}


class Remembering(Descent):
    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        self.seen.append(1)
        return super().step(content, gradient / len(self.seen), state)


class Ascent(Descent):
    def step(self, content: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, State]:
        return super().step(content, -gradient, state)


@attrs.frozen
class Below(ConvergenceCriterion):
    """Done below a loss.

    Attributes:
        loss: the loss.
        seen: what it remembers although it must not.
    """

    loss: float = 5.0
    seen: list[int] = attrs.field(factory=list)

    def init(self, rows: int, device: torch.device | None = None) -> State:
        return torch.zeros(rows, device=device)

    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state + 1, seen.loss < self.loss


class BelowTogether(Below):
    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state, (seen.loss < self.loss).all().expand(len(seen.loss))


class SecretBaseline(Below):
    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state, seen.every(seen.nll < seen.random)


class CountsItself(Below):
    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        self.seen.append(1)
        return state, torch.full_like(seen.loss, len(self.seen) > 3, dtype=torch.bool)


class CountsInPlace(Below):
    def update(self, state: State, seen: Observation) -> tuple[State, Tensor]:
        return state.add_(1), state > 2


class Twins(ToyTask):
    def __getitem__(self, index: int) -> Example:
        return attrs.evolve(super().__getitem__(index), id="one for all")


class FromTheEnd(ToyTask):
    def __getitem__(self, index: int) -> Example:
        return super().__getitem__(index % self.count if index < 0 else index)


class Halves(ToyTask):
    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(0, len(self), 2))


class Pairs(ToyTask):
    def __getitem__(self, index: int) -> Example:
        return attrs.evolve(super().__getitem__(index), metadata={"pair": (1, 2)})


class Percent(ToyTask):
    def grade(self, example: Example, text: str) -> dict[str, float]:
        return {"percent": 100.0 if example.answer == text else 50.0}


@attrs.frozen
class Eager(TaskDataset):
    """Reads too early.

    Attributes:
        path: what it reads.
    """

    path: str

    def __attrs_post_init__(self) -> None:
        Path(self.path).read_text(encoding="utf-8")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError


@attrs.frozen
class MeanLength(Evaluator):
    """Length of what was decoded; no run at all has none."""

    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Evaluation]:
        return [{"length": len("".join(outcome.decoded.values()))} for outcome in outcomes]

    def summarise(self, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        lengths = [each["length"] for each in evaluations]
        return {"mean": sum(lengths) / len(lengths) if lengths else float("nan")}


class Sorted(MeanLength):
    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Evaluation]:
        return sorted(super().evaluate(generator, examples, outcomes), key=str)


class Nested(MeanLength):
    def evaluate(
        self, generator: Generator, examples: Sequence[Example], outcomes: Sequence[Outcome]
    ) -> list[Any]:
        return [{"decoded": dict(outcome.decoded)} for outcome in outcomes]


class BatchMean(TinyGenerator):
    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        scores = super().score(content, strands)
        return scores._replace(nll=scores.nll + 1e-3 * scores.nll.mean())


class OffByAToken(TinyGenerator):
    def decode(
        self,
        content: Tensor,
        lead: Tensor,
        max_new_tokens: int | Sequence[int],
        layout: Layout = "prefix",
    ) -> list[str]:
        more = max_new_tokens if isinstance(max_new_tokens, int) else max(max_new_tokens)
        return super().decode(content, lead, more + 1, layout)


class OtherEmbeddings(TinyGenerator):
    def embed(self, ids: Tensor) -> Tensor:
        return super().embed(ids) * 1.1


class NoPrefix(TinyGenerator):
    def score(self, content: Tensor, strands: Strands) -> StrandScores:
        return super().score(content, attrs.evolve(strands, layout="suffix"))


class Lossy(TinyGenerator):
    def encode(self, text: str) -> tuple[int, ...]:
        return super().encode(text.replace("  ", " ").strip())


@attrs.define
class Mutable:
    """Can be changed, and says nothing of its field."""

    count: int = 1


OBJECTIVE, OPTIMIZER, CRITERION = ObjectiveContract(), OptimizerContract(), CriterionContract()
DATASET, EVALUATOR, GENERATOR = DatasetContract(), EvaluatorContract(), GeneratorContract()
COMPONENT = ComponentContract()
BROKEN: list[tuple[Callable[..., None], dict[str, Any]]] = [
    (OBJECTIVE.test_a_loss_depends_on_its_row_alone, {"objective": MeanOverBatch()}),
    (OBJECTIVE.test_a_weight_is_a_factor_of_its_strand, {"objective": WithoutWeights()}),
    (OBJECTIVE.test_an_example_has_targets, {"objective": Untargeted()}),
    (
        OPTIMIZER.test_a_start_depends_on_its_key_and_its_texts_alone,
        {"optimizer": GlobalRandomness()},
    ),
    (
        OPTIMIZER.test_other_keys_start_elsewhere_where_there_are_several_attempts,
        {"optimizer": SameStart()},
    ),
    (OPTIMIZER.test_a_step_leaves_its_arguments_as_they_are, {"optimizer": InPlace()}),
    (OPTIMIZER.test_a_row_moves_as_it_would_alone, {"optimizer": NormOfTheBatch()}),
    (
        OPTIMIZER.test_a_row_without_a_finite_gradient_disturbs_no_other,
        {"optimizer": NormOfTheBatch()},
    ),
    (OPTIMIZER.test_states_have_the_row_as_first_axis, {"optimizer": SharedSteps()}),
    (OPTIMIZER.test_it_remembers_nothing_itself, {"optimizer": Remembering()}),
    (OPTIMIZER.test_it_descends_a_quadratic, {"optimizer": Ascent()}),
    (CRITERION.test_a_verdict_depends_on_its_row_alone, {"criterion": BelowTogether()}),
    (CRITERION.test_it_says_whether_it_needs_baselines, {"criterion": SecretBaseline()}),
    (CRITERION.test_it_remembers_nothing_itself, {"criterion": CountsItself()}),
    (CRITERION.test_an_update_leaves_its_state_as_it_is, {"criterion": CountsInPlace()}),
    (DATASET.test_ids_are_unique, {"dataset": Twins()}),
    (DATASET.test_iterating_gives_what_indexing_gives, {"dataset": Halves()}),
    (DATASET.test_examples_survive_json, {"dataset": Pairs()}),
    (DATASET.test_any_text_can_be_graded, {"dataset": Percent()}),
    (DATASET.test_the_answer_itself_gets_the_best_grade, {"dataset": Percent()}),
    (
        EVALUATOR.test_nothing_can_be_evaluated_and_summarised,
        {"evaluator": MeanLength(), "generator": TinyGenerator()},
    ),
    (
        EVALUATOR.test_evaluations_stand_in_the_order_of_the_examples,
        {"evaluator": Sorted(), "generator": TinyGenerator()},
    ),
    (
        EVALUATOR.test_every_example_gets_a_flat_mapping,
        {"evaluator": Nested(), "generator": TinyGenerator()},
    ),
    (
        GENERATOR.test_a_row_scores_the_same_whatever_runs_beside_it,
        {"generator": BatchMean(), "layout": "prefix", "rows": [0]},
    ),
    (
        GENERATOR.test_a_row_has_a_gradient_and_no_other_row_is_in_it,
        {"generator": BatchMean()},
    ),
    (GENERATOR.test_decoding_stops_where_it_is_told, {"generator": OffByAToken(), "most": 2}),
    (
        GENERATOR.test_a_content_of_token_embeddings_scores_as_those_tokens_do,
        {"generator": OtherEmbeddings(), "slots": 1, "layout": "prefix"},
    ),
    (GENERATOR.test_both_layouts_are_one_prompt_of_tokens, {"generator": NoPrefix()}),
    (
        GENERATOR.test_white_space_and_spellings_of_special_tokens_are_texts_too,
        {"generator": Lossy(), "text": " a  b "},
    ),
    (COMPONENT.test_its_fields_are_documented, {"component": Mutable()}),
]


@pytest.mark.parametrize(
    ("test", "arguments"), BROKEN, ids=[test.__name__[5:] for test, _ in BROKEN]
)
def test_a_contract_refuses_what_breaks_it(
    test: Callable[..., None], arguments: dict[str, Any]
) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)):
        test(**arguments)


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        (DATASET.test_an_index_outside_is_refused, {"dataset": FromTheEnd()}),
        (COMPONENT.test_it_is_a_frozen_attrs_class, {"component": Mutable()}),
    ],
)
def test_a_contract_misses_an_error(test: Callable[..., None], arguments: dict[str, Any]) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test(**arguments)


def test_a_data_set_that_reads_when_it_is_made_is_refused(tmp_path: Path) -> None:
    class Announcing:
        @hookimpl
        def dcm_datasets(self) -> list[Component]:
            return [Component("eager", f"{Eager.__module__}:Eager", "reads too early")]

    path = tmp_path / "source.txt"
    path.write_text("text")
    plugins = Plugins()
    plugins.add(Announcing(), "here")
    with pytest.raises(AssertionError):
        DATASET.test_constructing_reads_nothing(Eager(str(path)), plugins)


@settings(max_examples=50)
@given(state=states(4), order=st.permutations(range(4)), cut=st.integers(1, 3))
def test_rows_of_any_state_can_be_taken_out_and_put_together(
    state: State, order: list[int], cut: int
) -> None:
    parts = [take(state, torch.tensor(rows)) for rows in (order[:cut], order[cut:])]
    back = torch.tensor(order).argsort()
    assert same(take(join(*parts), back), state)
