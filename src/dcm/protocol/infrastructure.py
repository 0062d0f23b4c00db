"""Stage 0: does the machinery work on this model at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import torch

from dcm.causal_lm import CausalLMGenerator
from dcm.example import Example
from dcm.generator import Generator
from dcm.modes import Modes
from dcm.protocol.baseline_table import BaselineTable
from dcm.protocol.gates import Gate
from dcm.protocol.health import total
from dcm.protocol.plan import one_attempt
from dcm.protocol.rule import VACUOUS_ABOVE, FalseConvergence
from dcm.protocol.statistics import Estimate, bootstrap, rate
from dcm.running.experiment import Experiment
from dcm.running.summary import finite
from dcm.solver import solve

PAIRS = 3
STEPS = 20
BETTER_THAN_GUESSING = 0.9


def fingerprint(generator: Generator) -> str | None:
    """A hash of the model's parameters; None for a generator that shows none."""
    if not isinstance(generator, CausalLMGenerator):
        return None
    digest = sha256()
    for name, parameter in sorted(generator.lm.model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def has_gradients(generator: Generator) -> bool:
    """Whether any parameter of the model has a gradient."""
    return isinstance(generator, CausalLMGenerator) and any(
        parameter.grad is not None for parameter in generator.lm.model.parameters()
    )


def short_run(
    experiment: Experiment, examples: Sequence[Example], modes: Modes
) -> list[tuple[str, float, float]]:
    """Optimise a few examples for a few steps: (id, first loss, best loss) in nats."""
    outcomes = solve(
        experiment.generator,
        examples,
        objective=experiment.objective,
        optimizer=one_attempt(experiment.optimizer),
        slots=experiment.slots,
        max_steps=STEPS,
        seed=experiment.seed,
        lanes=experiment.lanes,
        modes=modes,
    )
    return [
        (outcome.example.id, total(outcome.curve)[0][1], sum(outcome.losses.values()))
        for outcome in outcomes
        if outcome.curve
    ]


def infrastructure(
    experiment: Experiment, examples: Sequence[Example], modes: Modes, table: BaselineTable
) -> tuple[dict[str, Any], list[Gate]]:
    """Look whether losses fall, parameters stay, and the model knows its language."""
    generator = experiment.generator
    before = fingerprint(generator)
    fitting = [example for example in examples if example.id in table.losses][:PAIRS]
    runs = short_run(experiment, fitting, modes)
    untouched = fingerprint(generator) == before and not has_gradients(generator)
    guess = guessing(table, generator.vocabulary)
    record = {
        "pairs": [
            {"id": id, "first": finite(first), "best": finite(best)} for id, first, best in runs
        ],
        "steps": STEPS,
        "parameters": "not shown by this generator" if before is None else before,
        "full_context_over_guessing": guess.as_json(),
        "left_out": dict(table.left_out),
    }
    gates = [
        Gate(
            stage="0",
            name=f"loss falls on {PAIRS} pairs",
            measured=rate([best < first for _, first, best in runs]),
            relation=">=",
            threshold=1.0,
            advice="Gradients do not reach the content: check the generator and the learning rate",
        ),
        Gate(
            stage="0",
            name="parameters are untouched",
            measured=Estimate(float(untouched), None, None, 1),
            relation=">=",
            threshold=1.0,
            advice="Something trains the model: it must be frozen",
        ),
        Gate(
            stage="0",
            name="loss after text / of guessing",
            measured=guess,
            relation="<=",
            threshold=BETTER_THAN_GUESSING,
            advice=(
                "The model predicts plain text hardly better than guessing among all tokens: "
                "check that its trained weights are loaded and that it knows the language"
            ),
        ),
    ]
    return record, gates


def guessing(table: BaselineTable, vocabulary: int) -> Estimate:
    """Mean over examples of the loss after plain text, mean of the modes, over ln V, which is the
    loss of guessing every token with the same probability."""
    shares = []
    for id, kinds in table.losses.items():
        losses = [table.mean(id, "full_context", mode) for mode in kinds.get("full_context", {})]
        known = [loss for loss in losses if math.isfinite(loss)]
        if known:
            shares.append(sum(known) / len(known) / math.log(vocabulary))
    return bootstrap(shares)


def vacuity(found: FalseConvergence) -> Gate:
    """Whether the protocol's rule says anything; where not, gates count by `exact`."""
    return Gate(
        stage="0",
        name="false convergence of seed-rule",
        measured=found.rate,
        relation="<=",
        threshold=VACUOUS_ABOVE,
        advice=(
            "seed-rule is vacuous here: it calls contents converged that nobody optimised. "
            "Trust exact and certified"
        ),
        stops=False,
    )
