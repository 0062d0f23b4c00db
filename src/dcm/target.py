"""Target: one text to generate under one mode."""

from __future__ import annotations

import attrs


@attrs.frozen
class Target:
    """One text to generate under one mode.

    Attributes:
        mode: name of the mode, an open set; `question` and `answer` are the usual ones.
        text: what to generate, closed by the end-of-text token.
        weight: factor of this target's loss in its row's loss.
        checked: whether the content has to generate it. Checked targets decide when a row is
            done, and are certified; others only shape the content.
    """

    mode: str
    text: str
    weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    checked: bool = True
