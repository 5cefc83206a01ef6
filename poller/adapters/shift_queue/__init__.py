"""The queue of shifts, by which the workers on many machines divide the pipelines among them.

It also holds the slices of backfills and catch-ups that the workers share.
"""

from poller.adapters.shift_queue.queue import MOST_SLICES, ShiftQueue, Shifts, share_of
from poller.adapters.shift_queue.slices import SliceOrder, SliceOrders, Walked

__all__ = ["MOST_SLICES", "ShiftQueue", "Shifts", "SliceOrder", "SliceOrders", "Walked", "share_of"]
