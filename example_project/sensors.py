"""What starts runs by itself, once somebody switches it on: sensors for documents and answers, a schedule."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256

import dagster as dg

from claude_batch_dagster import build_collect_sensor, build_new_documents_sensor
from example_project.assets import RANGE_END, RANGE_START, classified_documents, documents, years
from example_project.corpus import by_year, fingerprint, read_documents
from example_project.settings import read_settings

MOST_YEARS_PER_TICK = 50

both = dg.AssetSelection.assets(documents, classified_documents)

# Looks at the table, whoever fills it; `changed_documents` looks at where the table comes from, and fills it as well.
new_documents = build_new_documents_sensor(classified_documents)

collect = build_collect_sensor(classified_documents)


@dg.sensor(target=both, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED)
def changed_documents(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for the years whose documents are new, changed or gone; rows that did not change cost nothing."""
    before = json.loads(context.cursor or '{"asked": 0, "years": {}}')
    seen: dict[str, str] = before["years"]
    found = {year: fingerprint(rows) for year, rows in by_year(read_documents(read_settings().documents)).items()}
    changed = sorted(year for year in seen.keys() | found.keys() if seen.get(year) != found.get(year))
    if not changed:
        return dg.SkipReason("No document has changed since the last look.")
    now = changed[:MOST_YEARS_PER_TICK]
    asked = before["asked"] + 1
    unchanged = {year: mark for year, mark in seen.items() if year not in now}
    return dg.SensorResult(
        run_requests=[_request(keys, found, asked) for keys in neighbors(now)],
        cursor=json.dumps({"asked": asked, "years": unchanged | {year: found[year] for year in now if year in found}}),
    )


@dg.schedule(cron_schedule="0 6 * * *", target=both, default_status=dg.DefaultScheduleStatus.STOPPED)
def current_year_every_morning() -> dg.RunRequest:
    """Look at the documents of the current year once a day."""
    return dg.RunRequest(partition_key=years.get_last_partition_key())


def neighbors(keys: Iterable[str]) -> list[list[str]]:
    """Group sorted years into stretches without a gap: each becomes one run."""
    stretches: list[list[str]] = []
    for key in keys:
        if stretches and int(key) == int(stretches[-1][-1]) + 1:
            stretches[-1].append(key)
        else:
            stretches.append([key])
    return stretches


def _request(keys: list[str], found: Mapping[str, str], asked: int) -> dg.RunRequest:
    marks = "".join(found.get(key, "gone") for key in keys)
    return dg.RunRequest(
        # Dagster runs a key once, for ever. The count lets documents that change back be run again; since
        # it is saved with the cursor, a tick that is repeated after a crash still gives the same key.
        run_key=f"{keys[0]}-{keys[-1]}:{sha256(marks.encode()).hexdigest()[:16]}:{asked}",
        tags={RANGE_START: keys[0], RANGE_END: keys[-1]},
    )
