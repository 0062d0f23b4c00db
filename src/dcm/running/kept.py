"""What of a results.jsonl is sound, and what is to be done again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from dcm.errors import RunDirectoryError
from dcm.outcome import FAILING, Status
from dcm.running.contents import Contents
from dcm.running.description import FINGERPRINTS
from dcm.running.result_lines import Line, read_lines


@attrs.define
class SortedLines:
    """The lines of a results.jsonl, sorted.

    Attributes:
        kept: lines of examples that are done.
        aside: lines that are damaged, doubled, of no example, or without their content.
        problems: what is wrong with those, a line each.
        again: how many examples a component failed; they are tried again.
        torn: whether a last line was not written to its end.
        files: the shards that lines name, those of damaged lines included.
        contents: how many contents are those that were written.
        other: the first line that speaks of another example than the data set, and how.
    """

    kept: list[bytes] = attrs.field(factory=list)
    aside: list[bytes] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    again: int = 0
    torn: bool = False
    files: set[str] = attrs.field(factory=set)
    contents: int = 0
    other: str = ""

    def check_same_data(
        self, path: Path, before: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        """Refuse other examples and other weights than the run began with.

        Raises:
            RunDirectoryError: what differs.
        """
        was, new = before.get(FINGERPRINTS, {}), now.get(FINGERPRINTS, {})
        do = "Give it what it began with, or begin a run of its own in another folder"
        if was.get("weights") != new.get("weights"):
            there = (
                "The weights or the tokenizer under the model's name are not those it began with"
            )
            raise RunDirectoryError(f"{path} is a run of another model", there, do)
        examples, found = was.get("examples"), new.get("examples")
        if examples != found:
            counts = [_count(each) for each in (examples, found)]
            there = self.other or "Of those that are not finished some say something else"
            if counts[0] != counts[1]:
                there = f"It had {counts[0]} examples, now there are {counts[1]}"
                there += f". {self.other}" if self.other else ""
            raise RunDirectoryError(f"{path} is a run of other examples", there, do)


def sort_lines(path: Path, contents: Contents, examples: Mapping[str, str] | None) -> SortedLines:
    """Look at every line of a results.jsonl and at every content that it names.

    Args:
        path: the results.jsonl.
        contents: where the contents are.
        examples: id -> fingerprint of the run's examples; None where nobody knows them.

    Raises:
        DcmError: the file cannot be read.
    """
    found = SortedLines()
    good: list[tuple[Line, dict[str, Any]]] = []
    bad: list[tuple[Line, str]] = []
    for line in read_lines(path):
        result = line.result
        if not line.whole:
            found.torn = True
        elif result is None:
            bad.append((line, line.problem))
        else:
            found.files |= {result["content"]["file"]} if result["content"] else set()
            problem = _other_example(result, examples)
            if problem:
                found.other = found.other or f"{path.name}:{line.number}: {problem}"
                bad.append((line, problem))
            elif is_to_be_tried_again(result):
                found.again += 1
            else:
                good.append((line, result))
    bad += _without_content_or_twice(good, contents, found)
    for line, problem in sorted(bad, key=lambda each: each[0].number):
        found.aside.append(line.raw)
        found.problems.append(f"{path.name}:{line.number}: {problem}")
    return found


def _without_content_or_twice(
    good: list[tuple[Line, dict[str, Any]]], contents: Contents, found: SortedLines
) -> list[tuple[Line, str]]:
    """Keep the lines whose content is sound, one of each example; the others, and why."""
    with_content = [line.number for line, result in good if result["content"]]
    refs = [result["content"] for _, result in good if result["content"]]
    damaged = {with_content[place]: why for place, why in contents.damaged(refs).items()}
    found.contents = len(refs) - len(damaged)
    seen: set[str] = set()
    bad = []
    for line, result in good:
        problem = damaged.get(line.number, "")
        if not problem and result["id"] in seen:
            problem = f"example {result['id']!r} stands in a line before"
        if problem:
            bad.append((line, problem))
        else:
            seen.add(result["id"])
            found.kept.append(line.raw)
    return bad


def is_to_be_tried_again(result: Mapping[str, Any]) -> bool:
    """Whether a component failed on the example, which may be mended by now."""
    return bool(result["status"] == Status.FAILED and result["reason"].startswith(FAILING))


def _count(examples: Any) -> Any:
    return examples.get("count") if isinstance(examples, dict) else None


def _other_example(result: Mapping[str, Any], examples: Mapping[str, str] | None) -> str:
    """How a line's example is not one of the data set; empty where it is."""
    if examples is None:
        return ""
    if result["id"] not in examples:
        return f"example {result['id']!r} is none of the data set"
    if result.get("example") != examples[result["id"]]:
        return f"example {result['id']!r} says something else in the data set"
    return ""
