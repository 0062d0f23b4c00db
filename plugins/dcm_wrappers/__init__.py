"""Data sets made of other data sets."""

from collections.abc import Iterable

from dcm import Component, hookimpl


@hookimpl
def dcm_datasets() -> Iterable[Component]:
    return [
        Component(
            "concatenate",
            "dcm_wrappers.concatenate:Concatenate",
            "several data sets, one after another",
        ),
        Component(
            "paraphrased",
            "dcm_wrappers.paraphrased:Paraphrased",
            "a data set and the paraphrases that dcm paraphrase made of it",
        ),
        Component("sample", "dcm_wrappers.sample:Sample", "a random part of a data set"),
        Component(
            "filter-length",
            "dcm_wrappers.filter_length:FilterLength",
            "the examples of a data set whose texts are neither too short nor too long",
        ),
        Component(
            "shuffled",
            "dcm_wrappers.shuffled:Shuffled",
            "a control: each question with the answer of another",
        ),
    ]
