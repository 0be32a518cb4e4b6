"""The clocks to give to what is tested: the machine's own, and one that the test moves."""

from __future__ import annotations

from remex_core.clock import SYSTEM, Clock, ManualClock

__all__ = ["SYSTEM", "Clock", "ManualClock"]
