"""The queue of shifts, by which the workers on many machines divide the pipelines among them."""

from poller.adapters.shift_queue.queue import ShiftQueue, Shifts, share_of

__all__ = ["ShiftQueue", "Shifts", "share_of"]
