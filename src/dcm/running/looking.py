"""Looking at every example once before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from dcm.dataset import TaskDataset
from dcm.errors import DatasetError, DcmError, UsageError
from dcm.example import Example
from dcm.running.certify import unwritable
from dcm.running.fingerprints import of_example
from dcm.solver.guard import ComponentError, blame, item_of

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment


@attrs.define
class Looked:
    """What was found by looking at every example.

    Attributes:
        examples: id -> fingerprint, in the data set's order.
        places: where in the data set each of them is.
        skipped: why records were left out -> how many.
        remarks: what the data set has to say.
        warnings: what else a user should know, a line each.
    """

    examples: dict[str, str] = attrs.field(factory=dict)
    places: list[int] = attrs.field(factory=list)
    skipped: dict[str, int] = attrs.field(factory=dict)
    remarks: list[str] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)


def look_at_examples(experiment: Experiment, on_looked: Callable[[int, int], None]) -> Looked:
    """Look at every example.

    Args:
        experiment: whose.
        on_looked: told now and then how many there are, and at how many of them was looked.

    Raises:
        DcmError: there is none, one cannot be read or does not fit, or two have one id.
    """
    found = Looked()
    generator, stop = experiment.generator, experiment.on_error == "stop"
    unwritten: list[str] = []
    unreadable = 0
    try:
        with blame(experiment.dataset, "__len__"):
            count = len(experiment.dataset)
    except ComponentError as error:
        raise (error.__cause__ if isinstance(error.__cause__, DcmError) else error) from None
    for place in range(count):
        if place % 1000 == 999:
            on_looked(count, place + 1)
        try:
            example = example_at(experiment.dataset, place)
        except ComponentError as error:
            if stop:
                raise DatasetError(
                    f"example number {place} cannot be read",
                    f"{error.asked}: {error.there}",
                    "Mend the data set, or leave such examples out by on_error=skip",
                ) from error
            unreadable += 1
            continue
        if example.id in found.examples:
            asked = f"the data set has the id {example.id!r} twice"
            raise UsageError(asked, "", "Ids must differ")
        if not found.examples:
            # A model that cannot be loaded is no example's failure, and is tried once.
            generator.context_length  # noqa: B018 - loads it
        found.examples[example.id] = of_example(example)
        found.places.append(place)
        try:
            item = item_of(example, experiment.objective, generator)
        except ComponentError:
            continue  # it fails alone, when its turn comes
        reasons = (unwritable(generator, each) for each in item.targets if each.checked)
        unwritten.extend([f"{example.id!r}, {reason}" for reason in reasons if reason][:1])
        if stop:
            reason = item.reason_not_to_fit(experiment.slots, generator.context_length)
            if reason:
                do = "Shorten it, use fewer slots, or leave such examples out by on_error=skip"
                raise UsageError(f"example {example.id!r} does not fit", reason, do)
    if unwritten:
        found.warnings.append(
            f"{len(unwritten)} of {len(found.examples)} examples cannot be certified, the "
            f"model's tokenizer does not write their texts. {unwritten[0]}"
        )
    if not found.examples:
        raise UsageError("the data set is empty", "", "Check its path, limit and offset")
    found.skipped = {
        **experiment.dataset.skipped,
        **({"unreadable": unreadable} if unreadable else {}),
    }
    found.remarks = list(experiment.dataset.remarks)
    return found


def example_at(dataset: TaskDataset, place: int) -> Example:
    """An example of a data set.

    Raises:
        ComponentError: the data set fails on it.
        DatasetError: the source is missing or malformed.
    """
    try:
        with blame(dataset, "__getitem__"):
            example = dataset[place]
            if not isinstance(example, Example):
                raise TypeError(f"It gave {type(example).__name__}, not an Example")
    except ComponentError as error:
        if isinstance(error.__cause__, DatasetError):
            raise error.__cause__ from None
        raise
    return example
