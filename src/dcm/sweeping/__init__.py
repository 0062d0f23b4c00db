"""Sweeps: one experiment at every point of a grid, each a run's folder of its own."""

from dcm.sweeping.cells import Cell as Cell
from dcm.sweeping.grid import grid as grid
from dcm.sweeping.sweeps import Sweep as Sweep
from dcm.sweeping.sweeps import sweep as sweep
