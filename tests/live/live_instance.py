"""A `dagster dev` on the location of the live tests, and the instance it has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.canary import KEY
from tests.dagster_dev import serving_module
from tests.live.live_dev import LiveDev

LOCATION = "tests.live.location"

DAGSTER_YAML = """\
telemetry:
  enabled: false
run_monitoring:
  enabled: true
  poll_interval_seconds: 2
  start_timeout_seconds: 180
run_retries:
  enabled: true
  max_retries: 3
  retry_on_asset_or_op_failure: false
"""

QUICK = """\
run_coordinator:
  module: tests.live.quick_daemon
  class: QuickDaemon
  config:
    dequeue_interval_seconds: 1
    max_concurrent_runs: {most}
"""

USUAL = """\
concurrency:
  runs:
    max_concurrent_runs: {most}
"""


@contextmanager
def running_dev(home: Path, api: str, *, quick: bool = True, most: int = 20) -> Iterator[LiveDev]:
    """Run `dagster dev` on the families, all of its files in `home`; `most` runs at once."""
    instance = home / "instance"
    instance.mkdir(parents=True, exist_ok=True)
    (instance / "dagster.yaml").write_text(DAGSTER_YAML + (QUICK if quick else USUAL).format(most=most))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "DAGSTER_"))}
    env = {
        **kept,
        "DAGSTER_HOME": str(instance),
        "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        "LIVE_HOME": str(home),
        "LIVE_API": api,
        "CLAUDE_TEST_KEY": KEY,
        "PYTHONWARNINGS": "ignore",
    }
    with serving_module(LOCATION, home / "dagster-dev.log", env) as dev:
        yield LiveDev(dev.url, dev.log, dev.process, dev.location)
