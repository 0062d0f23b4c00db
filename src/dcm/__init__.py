"""dcm: Dynamic Context Memory.

Optimises a few continuous vectors per example so that a frozen language model generates the
example's question under one mode and its answer under another.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcm.causal_lm.lines import bucket as bucket
    from dcm.criterion import AllOf as AllOf
    from dcm.criterion import AnyOf as AnyOf
    from dcm.criterion import ConvergenceCriterion as ConvergenceCriterion
    from dcm.criterion import Observation as Observation
    from dcm.dataset import TaskDataset as TaskDataset
    from dcm.errors import DatasetError as DatasetError
    from dcm.errors import DcmError as DcmError
    from dcm.errors import GeneratorError as GeneratorError
    from dcm.errors import PluginError as PluginError
    from dcm.errors import RunDirectoryError as RunDirectoryError
    from dcm.errors import UsageError as UsageError
    from dcm.evaluator import Evaluation as Evaluation
    from dcm.evaluator import Evaluator as Evaluator
    from dcm.example import Example as Example
    from dcm.generator import Generator as Generator
    from dcm.grading import normalise as normalise
    from dcm.grading import normalised_match as normalised_match
    from dcm.grading import token_f1 as token_f1
    from dcm.hooks import Component as Component
    from dcm.hooks import hookimpl as hookimpl
    from dcm.memory.memory import Memory as Memory
    from dcm.memory.memory import open as open  # noqa: A004 - dcm.open, as gzip.open
    from dcm.modes import Modes as Modes
    from dcm.objective import Objective as Objective
    from dcm.optimizer import Optimizer as Optimizer
    from dcm.optimizer import RowKey as RowKey
    from dcm.optimizer import Space as Space
    from dcm.optimizer import State as State
    from dcm.outcome import Outcome as Outcome
    from dcm.outcome import Status as Status
    from dcm.plugins import Plugins as Plugins
    from dcm.plugins import find as find
    from dcm.plugins import pairs as pairs
    from dcm.reporting.report import report as report
    from dcm.running.baselines import Baselines as Baselines
    from dcm.running.experiment import Experiment as Experiment
    from dcm.running.frames import Results as Results
    from dcm.running.frames import results as results
    from dcm.secrets import mask_secrets as mask_secrets
    from dcm.serial import build as build
    from dcm.serial import describe as describe
    from dcm.solver import solve as solve
    from dcm.strands import Layout as Layout
    from dcm.strands import Strands as Strands
    from dcm.strands import StrandScores as StrandScores
    from dcm.sweeping import Sweep as Sweep
    from dcm.sweeping import sweep as sweep
    from dcm.target import Target as Target
    from dcm.tracking import TrackedRun as TrackedRun
    from dcm.tracking import Tracker as Tracker

# Torch's threads spin while they wait for each other, which on cores shared with other work made
# the solver four times slower than sleeping does. Sleeping at once costs a fifth on free cores:
# 600 turns, a few microseconds, win that back for 7 % on shared ones (all measured). It is read
# when torch is loaded; what the user has set stays, here and below.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "600")

# oneDNN and torch's wrapper of it each keep 1,024 prepared products, one for each shape. Rows come
# and go, so a shape seldom returns once its step is over: of a small model they took a third of the
# memory, and preparing one anew takes 0.2 ms (measured).
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "64")

# Where each public name is defined. Importing dcm must stay free of torch, which takes seconds.
_HOME = {
    "AllOf": "criterion",
    "AnyOf": "criterion",
    "Baselines": "running.baselines",
    "Component": "hooks",
    "ConvergenceCriterion": "criterion",
    "DatasetError": "errors",
    "DcmError": "errors",
    "Evaluation": "evaluator",
    "Evaluator": "evaluator",
    "Example": "example",
    "Experiment": "running.experiment",
    "Generator": "generator",
    "GeneratorError": "errors",
    "Layout": "strands",
    "Memory": "memory.memory",
    "Modes": "modes",
    "Objective": "objective",
    "Observation": "criterion",
    "Optimizer": "optimizer",
    "Outcome": "outcome",
    "PluginError": "errors",
    "Plugins": "plugins",
    "Results": "running.frames",
    "RowKey": "optimizer",
    "RunDirectoryError": "errors",
    "Space": "optimizer",
    "State": "optimizer",
    "Status": "outcome",
    "StrandScores": "strands",
    "Strands": "strands",
    "Sweep": "sweeping",
    "Target": "target",
    "TaskDataset": "dataset",
    "TrackedRun": "tracking",
    "Tracker": "tracking",
    "UsageError": "errors",
    "bucket": "causal_lm.lines",
    "build": "serial",
    "describe": "serial",
    "find": "plugins",
    "hookimpl": "hooks",
    "mask_secrets": "secrets",
    "normalise": "grading",
    "open": "memory.memory",
    "normalised_match": "grading",
    "pairs": "plugins",
    "report": "reporting.report",
    "results": "running.frames",
    "solve": "solver",
    "sweep": "sweeping",
    "token_f1": "grading",
}

__all__ = sorted([*_HOME, "__version__"])  # noqa: PLE0605 - one list of the names is enough


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("dynamic-context-memory")
    if name in _HOME:
        value = getattr(import_module(f"dcm.{_HOME[name]}"), name)

        globals()[name] = value
        return value
    raise AttributeError(f"module 'dcm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
