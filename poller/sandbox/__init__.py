"""A simulated Auth0 tenant and a Segment-compatible collector, over real HTTP on loopback.

The demo, the tests and the benchmarks run against it. It knows every event that it served, so
any run can be checked. It imports no other part of the program, so it cannot share its
mistakes.
"""

from poller.sandbox.faults import Fault
from poller.sandbox.reconciliation import Reconciliation
from poller.sandbox.server import Sandbox

__all__ = ["Fault", "Reconciliation", "Sandbox"]
