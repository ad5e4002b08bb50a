"""
A Dagster code location that runs offline: two centuries of presidential messages, sorted by theme.

`dagster dev -m example_project` shows it, `python -m example_project.run` runs it from end to end.
"""

import warnings

import dagster as dg

# On purpose: its own policy is what gives classified_documents a run of its own in a backfill.
warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying BackfillPolicies")


@dg.definitions
def defs() -> dg.Definitions:
    """Return all assets, jobs, sensors and schedules, set up as the environment says."""
    # Only who asks for the definitions needs a valid environment and the time to load them.
    from example_project.definitions import build_definitions  # noqa: PLC0415
    from example_project.settings import read_settings  # noqa: PLC0415

    return build_definitions(read_settings())
