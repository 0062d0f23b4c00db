"""Framing: what of a chat template stands around a prompt.

With the framing `raw` a prompt is [mode, c] alone. With `chat` it stands where the user's text
would in a conversation of one turn: behind what the tokenizer's chat template writes before such a
text, and before what it writes behind, up to where the model's reply, the target, begins.

A prompt and its frame are one longer content to all that scores and decodes, with the frame's last
token in the mode vector's place behind it. So there is one way of doing either, framed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Literal
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import Tensor

from dcm.errors import GeneratorError
from dcm.strands import Layout, Strands

Framing = Literal["raw", "chat"]
"""What stands around a prompt: nothing, or the tokenizer's chat template."""

Ids = tuple[int, ...]

# Texts that begin and end with other tokens each, in any tokenizer: what does not change with them
# is the template's.
_TEXTS = ("Why", "the moon", "Paris")

# Some templates write today's date, with which a content would be another one tomorrow. A template
# is given plain values only, so what it calls for the date is defined at its beginning.
_DATE = {"%Y": "2024", "%m": "07", "%b": "Jul", "%B": "July", "%d": "26"}
_REPLACED = "".join(f"|replace('{sign}', '{text}')" for sign, text in _DATE.items())
_FIXED_DATE = f"{{% macro strftime_now(format) %}}{{{{ format{_REPLACED} }}}}{{% endmacro %}}"


def chat_frame(tokenizer: Any, vocabulary: int) -> tuple[Ids, Ids]:
    """The token ids that a chat template writes before a user's text, and behind it.

    Thinking is switched off where the template can be told so, and dates are one fixed date.

    Args:
        tokenizer: whose template.
        vocabulary: how many tokens the model has embeddings of.

    Raises:
        GeneratorError: there is no template, or none that can stand around vectors.
    """
    asked, do = "framing='chat' was asked for", "Use framing='raw', or a model that has one"
    if getattr(tokenizer, "chat_template", None) is None:
        raise GeneratorError(asked, "The model's tokenizer has no chat template", do)
    do = "Use framing='raw', or a model with another one"
    try:
        template = _FIXED_DATE + tokenizer.get_chat_template()
        written = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                chat_template=template,
                add_generation_prompt=True,
                return_dict=False,
                enable_thinking=False,
                thinking=False,
            )
            for text in _TEXTS
        ]
    except Exception as error:  # whatever a template raises
        there = f"The model's chat template says: {' '.join(str(error).split())[:200]}"
        raise GeneratorError(asked, there, do) from error
    before = _common(written)
    behind = _common([ids[len(before) :][::-1] for ids in written])[::-1]
    if any(len(before) + len(behind) == len(ids) for ids in written):
        there = "The model's chat template has no place for the user's text"
        raise GeneratorError(asked, there, do)
    if not behind:
        there = "The model's chat template has nothing behind the user's text"
        raise GeneratorError(asked, there, do)
    beyond = [id for id in (*before, *behind) if id >= vocabulary]
    if beyond:
        there = f"The model has no embedding of token {beyond[0]}, which its chat template writes"
        raise GeneratorError(asked, there, do)
    return before, behind


def _common(sequences: Sequence[Sequence[int]]) -> Ids:
    """What all sequences begin with."""
    together = takewhile(lambda ids: len(set(ids)) == 1, zip(*sequences, strict=False))
    return tuple(int(ids[0]) for ids in together)


@attrs.frozen(eq=False)
class Frame:
    """The embeddings that stand around each prompt.

    Attributes:
        before: [B, D] float32, before the prompt.
        behind: [E, D] float32, between prompt and target; E >= 1.
    """

    before: Tensor
    behind: Tensor
    _framed: WeakKeyDictionary[Strands, tuple[Tensor, Strands]] = attrs.field(
        factory=WeakKeyDictionary, init=False
    )

    @classmethod
    def of(cls, ids: tuple[Ids, Ids], embed: Callable[[Tensor], Tensor]) -> Frame:
        """The frame of these tokens, before and behind."""
        return cls(*(embed(torch.tensor(each, dtype=torch.int64)) for each in ids))

    def prompts(self, content: Tensor, lead: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """N prompts in their frames, as contents and what stands behind them (`suffix`).

        Args:
            content: [N, K, D] float32.
            lead: [N, D] float32, the mode vectors.
            layout: where the mode vector stands.

        Returns:
            contents [N, B + K + E, D], mode vectors among them, and [N, D].
        """
        count, modes = len(content), lead[:, None].to(content.dtype)
        prompt = (modes, content) if layout == "prefix" else (content, modes)
        before, behind = (each.expand(count, -1, -1) for each in (self.before, self.behind))
        return torch.cat([before, *prompt, behind[:, :-1]], 1), behind[:, -1]

    def strands(self, content: Tensor, strands: Strands) -> tuple[Tensor, Strands]:
        """Contents [R, K, D] and strands in their frames, as contents and strands of `suffix`.

        Each prompt is a content of its own: one of every row and mode vector.
        """
        first, framed = self._of_prompts(strands)
        row, lead = (each.index_select(0, first) for each in (strands.row, strands.lead))
        return self.prompts(content.index_select(0, row), lead, strands.layout)[0], framed

    def _of_prompts(self, strands: Strands) -> tuple[Tensor, Strands]:
        """The first strand of each prompt, and the strands; made once, as the solver keeps its
        strands."""
        found = self._framed.get(strands)
        if found is None:
            rows = list(strands.owners or strands.row.tolist())
            # Without names, no two strands of a row are known to have one mode vector.
            names = list(zip(rows, strands.modes or range(len(rows)), strict=True))
            number: dict[tuple[int, object], int] = {}
            prompts = [number.setdefault(name, len(number)) for name in names]
            first = {prompt: j for j, prompt in reversed(list(enumerate(prompts)))}
            leading = [first[prompt] for prompt in range(len(number))]
            device = strands.row.device
            framed = attrs.evolve(
                strands,
                row=torch.tensor(prompts, device=device),
                lead=self.behind[-1].expand(len(rows), -1),
                rows=len(number),
                layout="suffix",
                owners=prompts,
                draw=None,
            )
            found = self._framed[strands] = torch.tensor(leading, device=device), framed
        return found
