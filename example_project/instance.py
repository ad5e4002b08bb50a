"""
The Dagster instance of the example, kept under EXAMPLE_HOME.

`python -m example_project.instance` prepares it and prints its directory, for use as DAGSTER_HOME.
"""

import sys
from pathlib import Path

from example_project.settings import SettingsError, read_settings

_DAGSTER_YAML = """\
telemetry:
  enabled: false

# Nobody is asked to join a community before the first page.
nux:
  enabled: false

# A run whose process died is noticed and started again; it then goes on with the batches it had sent.
# A step that failed by itself is not: its message says what to do first.
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 180
run_retries:
  enabled: true
  max_retries: 3
  retry_on_asset_or_op_failure: false

# Runs mostly wait for batches, so many fit side by side.
concurrency:
  runs:
    max_concurrent_runs: 20
"""


def prepare_dagster_home(directory: Path) -> Path:
    """Create the directory with a `dagster.yaml`; one that is already there is left as it is."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    config = directory / "dagster.yaml"
    if not config.exists():
        config.write_text(_DAGSTER_YAML)
    return directory


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{prepare_dagster_home(read_settings().dagster_home)}\n")
    except SettingsError as error:
        sys.exit(str(error))
