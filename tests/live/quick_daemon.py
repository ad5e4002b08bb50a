"""
A run coordinator that is Dagster's own, and makes the daemons look around every second or two.

Backfill, sensor and automation daemons pause 30, 5 and 5 seconds between two looks, and have no setting for it.
Each process of an instance imports its run coordinator, so this is where the daemon's process can be told.
"""

import sys

from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

PAUSES = {
    "dagster._daemon.controller": ("DEFAULT_DAEMON_INTERVAL_SECONDS", 2),
    "dagster._daemon.sensor": ("MIN_INTERVAL_LOOP_TIME", 1),
    "dagster._daemon.asset_daemon": ("MIN_INTERVAL_LOOP_SECONDS", 1),
}

for name, (pause, seconds) in PAUSES.items():
    if module := sys.modules.get(name):  # in the daemon's process only
        assert hasattr(module, pause), f"{name} has no {pause} any more"
        setattr(module, pause, seconds)


class QuickDaemon(QueuedRunCoordinator):
    """The default run coordinator."""
