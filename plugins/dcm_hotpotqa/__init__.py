"""HotpotQA: questions that need two passages."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "hotpotqa",
            "dcm_hotpotqa.hotpotqa:HotpotQa",
            "HotpotQA: questions that need two passages",
        )
    ]
