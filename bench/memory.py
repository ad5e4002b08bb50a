"""The most memory that this process had since a moment: Linux keeps it, and forgets it when asked to."""

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FORGET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class _Start:
    mb: float = 0.0


_START = _Start()


def note_start() -> None:
    """Note what this process has before it has done anything."""
    _START.mb = peak_mb()


def forget_peak() -> None:
    """Begin to measure here; elsewhere than on Linux it is measured from the start of the process."""
    with suppress(OSError):
        FORGET.write_text("5")


def peak_mb() -> float:
    """Return the most memory since then, in MB."""
    with suppress(OSError):
        [kilobytes] = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        return int(kilobytes) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grown_mb() -> float:
    """Return how much more that is than there was at the start."""
    return peak_mb() - _START.mb
