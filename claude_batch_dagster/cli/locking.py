"""Holding the lock of those who send."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

import click

from claude_batch_dagster.core.ports import Locks

PATIENCE_SECONDS = 2.0
"""How long a lock is waited for in silence."""


@contextmanager
def locked(locks: Locks, pipeline: str) -> Iterator[None]:
    """Hold the lock of a pipeline, the one that runs hold while they send; say so if somebody else has it."""
    notice = Timer(
        PATIENCE_SECONDS, click.echo, [f"Waiting for a run that is sending for {pipeline} ..."], {"err": True}
    )
    notice.daemon = True
    notice.start()
    try:
        with locks.hold(pipeline):
            notice.cancel()
            yield
    finally:
        notice.cancel()
