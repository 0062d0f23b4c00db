"""Prompts: what a model is asked for paraphrases, in a file that a user can edit."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import attrs

from dcm.errors import UsageError
from dcm.example import Example

MODES = ("question", "answer")
_PARTS = ("system", *MODES, "again")
_PLACES = ("n", "question", "answer", "taken")
_PLACE = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Prompts:
    """What a model is asked.

    Attributes:
        system: who it is to be.
        question: what is asked for paraphrases of a question.
        answer: what is asked for paraphrases of an answer.
        again: what is added where too few were usable.
    """

    system: str
    question: str
    answer: str
    again: str

    @classmethod
    def read(cls, path: str | Path | None = None) -> Prompts:
        """The prompts of a TOML file; None for those that come with dcm.

        Raises:
            UsageError: it cannot be read, lacks a prompt, or a prompt has an unknown {place}.
        """
        text, name = default_text(), "prompts.toml"
        if path is not None:
            name = str(path)
            try:
                text = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                do = "Write the default ones there by --write-prompts"
                raise UsageError(f"the prompts {name} cannot be read", str(error), do) from error
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"the prompts {name} are no TOML", str(error)) from error
        if set(found) != set(_PARTS) or not all(isinstance(each, str) for each in found.values()):
            there = f"It has {', '.join(found) or 'nothing'}"
            raise UsageError(f"{name} has no prompts", there, f"Give {', '.join(_PARTS)} as texts")
        for part, prompt in found.items():
            for place in _PLACE.findall(prompt):
                if place not in _PLACES:
                    asked = f"{name}: the prompt {part!r} has the place {{{place}}}"
                    raise UsageError(asked, f"There are {', '.join(_PLACES)}")
        for mode in MODES:
            if mode not in _PLACE.findall(found[mode]):
                do = f"Write {{{mode}}} where the text belongs"
                raise UsageError(f"{name}: the prompt {mode!r} does not have its text", "", do)
        return cls(**{part: found[part].strip() for part in _PARTS})

    def ask(
        self, example: Example, mode: str, count: int, attempt: int, taken: Sequence[str]
    ) -> tuple[str, str]:
        """The system's and the user's message that ask for `count` wordings of one text.

        Args:
            example: whose text.
            mode: which of its texts.
            count: how many.
            attempt: 0 at first, then 1 and so on.
            taken: the wordings that there are already.
        """
        values = {
            "n": str(count),
            "question": example.question,
            "answer": example.answer,
            "taken": json.dumps(list(taken), ensure_ascii=False),
        }
        # In one pass: a text may hold {braces} itself.
        system, user = (
            _PLACE.sub(lambda found: values.get(found[1], found[0]), prompt)
            for prompt in (self.system, self._user(mode, again=attempt > 0))
        )
        return system, user

    def _user(self, mode: str, *, again: bool) -> str:
        prompt = self.question if mode == "question" else self.answer
        return f"{prompt}\n\n{self.again}" if again else prompt


def default_text() -> str:
    """The file of the prompts that come with dcm."""
    return (files("dcm.paraphrasing") / "prompts.toml").read_text(encoding="utf-8")
