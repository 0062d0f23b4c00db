"""The solver: rows as a queue over a fixed number of lanes."""

from dcm.solver.endings import Verify as Verify
from dcm.solver.item import Item as Item
from dcm.solver.solve import solve as solve
from dcm.solver.stats import Stats as Stats
