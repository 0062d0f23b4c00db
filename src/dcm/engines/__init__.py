"""Engines: where the workers of a run are, and how the run talks with each of them."""

from dcm.engines.engine import RUN_IS_GONE, Engine, Gone, Link, engine_of
from dcm.engines.local import Local, visible_cards
from dcm.engines.ray import Ray
from dcm.engines.torchrun import Torchrun

__all__ = [
    "RUN_IS_GONE",
    "Engine",
    "Gone",
    "Link",
    "Local",
    "Ray",
    "Torchrun",
    "engine_of",
    "visible_cards",
]
