"""Runs tracked with MLflow."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_trackers() -> Iterable[Component]:
    return [Component("mlflow", "dcm_mlflow.tracker:MlflowTracker", "MLflow, local or a server")]
