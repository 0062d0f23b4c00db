"""Engines: where the workers of a run are, and how the run talks with each of them."""

from dcm.engines.engine import Engine, Gone, Link, engine_of
from dcm.engines.local import Local
from dcm.engines.ray import Ray
from dcm.engines.torchrun import Torchrun

__all__ = ["Engine", "Gone", "Link", "Local", "Ray", "Torchrun", "engine_of"]
