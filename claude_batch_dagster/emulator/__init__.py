"""
A faithful emulator of the Claude Message Batches API.

It shares no code with the rest of the package, so it cannot share its mistakes.
Its answers are lexical, not Claude's.
"""

from claude_batch_dagster.emulator.app import Emulator
from claude_batch_dagster.emulator.clock import ManualClock, SystemClock
from claude_batch_dagster.emulator.faults import Fault
from claude_batch_dagster.emulator.reply import Reply
from claude_batch_dagster.emulator.server import serving
from claude_batch_dagster.emulator.transport import EmulatorTransport

__all__ = ["Emulator", "EmulatorTransport", "Fault", "ManualClock", "Reply", "SystemClock", "serving"]
