"""SQuAD: questions on Wikipedia passages."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component("squad", "dcm_squad.squad:Squad", "SQuAD 1.1 and 2.0, from a file or hub"),
        Component(
            "squad-paraphrased",
            "dcm_squad.paraphrased:SquadParaphrased",
            "SQuAD questions with a paraphrase each, from two files",
        ),
    ]
