"""Alone: a run whose examples are all solved in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dcm.example import Example
from dcm.running.looking import Looked, look_at_examples
from dcm.running.progress import WorkerProgress
from dcm.running.run_directory import RunDirectory
from dcm.running.solving import Facts, Solving
from dcm.solver import Stats

if TYPE_CHECKING:
    from dcm.running.experiment import Experiment


class Alone:
    """Solves in this process; what it leaves out, `Many` has.

    Args:
        experiment: how.
        on_step: called after each step.
    """

    def __init__(self, experiment: Experiment, on_step: Callable[[], None]) -> None:
        self.experiment, self._on_step = experiment, on_step
        self._solving: Solving | None = None

    @property
    def stats(self) -> Stats:
        return self._solving.stats if self._solving else Stats()

    @property
    def workers(self) -> tuple[WorkerProgress, ...]:
        return ()

    def look(self, on_looked: Callable[[int, int], None]) -> tuple[Looked, Facts]:
        """Look at every example, and at the model."""
        looked = look_at_examples(self.experiment, on_looked)
        return looked, Facts.of(self.experiment)

    def results(
        self, run: RunDirectory, left: Sequence[tuple[int, str]]
    ) -> Iterator[list[dict[str, Any]]]:
        """Lines of results.jsonl, whose contents and curves are saved.

        Args:
            run: where they are saved.
            left: place and id of each example that is to be solved.
        """
        solving = self._solving = Solving(self.experiment, run)

        def examples() -> Iterator[Example]:
            for place, key in left:
                example = solving.example(place, key)
                if example is not None:
                    yield example

        for outcome in solving.outcomes(examples(), self._on_step):
            result = solving.result(outcome)
            if outcome.content is not None:
                result["content"] = run.ref(outcome.example.id)
            yield [result]
        for outcome in solving.unreadable:
            yield [solving.result(outcome)]

    def machine(self) -> dict[str, Any]:
        """What summary.json says of the machine that worked."""
        facts = Facts.of(self.experiment)
        return {
            "peak_memory_bytes": self._solving.peak_memory() if self._solving else 0,
            "device": facts.device,
            "dtype": facts.dtype,
            "trials": facts.trials,
        }

    def close(self) -> None:
        """Nothing is left to end."""
