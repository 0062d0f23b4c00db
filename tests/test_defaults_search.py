"""The search around the defaults of `adam` tries what `adam` does."""

from __future__ import annotations

import pytest
import torch

from dcm import RowKey, Space, find
from dcm_optimizers import adam as its_module

SLOTS = 8
SPACE = Space(slots=SLOTS, width=8, scale=0.5, device=torch.device("cpu"))


def test_rows_of_a_setting_move_as_adam_with_these_defaults_moves_them(script, monkeypatch):
    search = script("experiments/defaults_search.py")
    first = search.defaults(SLOTS)
    settings = (first, *search.drawn(SLOTS, first.temperature, 2, seed=0))
    drawn = search.Drawn(settings)
    keys = [RowKey(0, f"{number}/pair", 0) for number in range(3)]
    random = torch.Generator().manual_seed(0)
    texts = [torch.randn(5, 8, generator=random)] * 3
    content = drawn.start(keys, SPACE, texts)
    adams = [
        find("optimizer", "adam")(
            betas=(s.beta1, s.beta2), hypergradient=s.hypergradient, start_scale=s.start_scale,
            text_scale=s.text_scale,
        )
        for s in settings
    ]  # fmt: skip
    for row, adam in enumerate(adams):
        start = adam.start([RowKey(0, "pair", 0)], SPACE, texts[:1])[0]
        # All but the coordinate that names the setting.
        assert torch.equal(content[row].flatten()[1:], start.flatten()[1:])
    state = drawn.init(content, SPACE)
    own = [content[row : row + 1] for row in range(3)]
    states = []
    for each, adam, setting in zip(own, adams, settings, strict=True):
        monkeypatch.setitem(its_module._TABLE, SLOTS, (setting.lr, *its_module._TABLE[SLOTS][1:]))
        states.append(adam.init(each, SPACE))
    for _ in range(4):
        # Of a usual first gradient, of one steeper, and of one less steep.
        gradient = torch.randn(3, SLOTS, 8, generator=random) * torch.tensor([1.0, 3, 0.2]).view(
            3, 1, 1
        )
        content, state = drawn.step(content, gradient, state)
        for row, adam in enumerate(adams):
            own[row], states[row] = adam.step(own[row], gradient[row : row + 1], states[row])
    torch.testing.assert_close(content, torch.cat(own), rtol=1e-5, atol=1e-5)


def test_the_defaults_are_those_of_adam(script):
    search = script("experiments/defaults_search.py")
    for slots in (1, 8):
        chosen = find("optimizer", "adam")().chosen(slots)
        assert search.defaults(slots).lr == pytest.approx(chosen["lr"])
        assert search.defaults(slots).temperature == pytest.approx(chosen["gradient_temperature"])
