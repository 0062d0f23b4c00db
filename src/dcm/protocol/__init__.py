"""The protocol: whether joint optimisation works, and whether the result means anything.

Baselines, a convergence rule with its worth measured, stages with gates, thresholds, health of
loss curves, early signals, controls and transfer probes. `docs/protocol.md` defines them all.
"""

from dcm.protocol.gates import Gate as Gate
from dcm.protocol.gates import Verdict as Verdict
from dcm.protocol.plan import Plan as Plan
from dcm.protocol.protocol import PROTOCOL as PROTOCOL
from dcm.protocol.protocol import STOPPED as STOPPED
from dcm.protocol.protocol import Listener as Listener
from dcm.protocol.protocol import Protocol as Protocol
from dcm.protocol.protocol import Record as Record
from dcm.protocol.report import stage_report as stage_report
from dcm.protocol.report import write_report as write_report
from dcm.protocol.statistics import Estimate as Estimate
