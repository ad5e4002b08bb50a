"""A thousand batches, or five thousand partitions, at once: a tick of the sensor is one look, not one for each."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_collect_sensor
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import ChunkRecord, Requests, State
from claude_batch_dagster.core.ports import Body
from claude_batch_dagster.runs.partitions import RANGE_END, RANGE_START
from claude_batch_dagster.runs.ranges import Places, stretches

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]

DAYS = dg.DailyPartitionsDefinition(start_date="1980-01-01", end_date="1993-09-09")
N_BATCHES = 1_000
N_ENDED = 10
PER_BATCH = 2

SENT = (
    b'{"requests":[{"custom_id":"a","params":{"model":"claude-haiku-5-5","max_tokens":9,'
    b'"messages":[{"role":"user","content":"war"}]}}]}'
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own: the sensor asks for its runs and materializations."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def travelling(world: "DagsterWorld", pipeline: str, keys: list[str]) -> None:
    """Send batches and write them down as runs do, two partitions in each; the first ones end at once."""
    with (
        dg.build_resources({"claude_batch": world.resource()}) as opened,
        opened.claude_batch.open_ledger() as ledger,
        opened.claude_batch.open_api() as api,
    ):
        known = set[str]()
        for n in range(N_BATCHES):
            world.emulator.pace.batch_seconds = 0 if n < N_ENDED else 36_000
            own = keys[n * PER_BATCH : (n + 1) * PER_BATCH]
            batch = api.create(Body(pieces=[SENT], n_bytes=len(SENT)))
            chunk_id = f"c{n:06d}"
            ledger.intend(_chunk(chunk_id, pipeline, api.account), _requests(chunk_id, own), known=known)
            known.add(chunk_id)
            ledger.move(chunk_id, to=State.RELEASED, released_at=datetime.now(UTC))
            ledger.move(chunk_id, to=State.ACCEPTED, batch_id=batch.id, batch_created_at=batch.created_at)


def _chunk(chunk_id: str, pipeline: str, account: str) -> ChunkRecord:
    return ChunkRecord(
        chunk_id=chunk_id,
        pipeline=pipeline,
        run_id="r",
        account=account,
        state=State.SENDING,
        n_requests=PER_BATCH,
        n_bytes=len(SENT),
        intended_at=datetime.now(UTC),
    )


def _requests(chunk_id: str, keys: list[str]) -> Requests:
    names = [f"{chunk_id}-{ordinal}" for ordinal in range(len(keys))]
    return Requests(
        partition_keys=keys,
        questions=names,
        attempts=[1] * len(keys),
        keys=[f'"{key}"' for key in keys],
        custom_ids=names,
        outcomes=[None] * len(keys),
    )


def test_a_thousand_batches_are_one_look(
    own_world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass over the API's list for all open batches, and none asked after by itself; those that ended are due."""
    world = own_world
    asset = classification(partitions_def=DAYS, partition_expr="published_on")
    keys = list(DAYS.get_partition_keys()[: N_BATCHES * PER_BATCH])
    travelling(world, "public.answers", keys)
    for key in keys:
        world.instance.report_runless_asset_event(dg.AssetMaterialization("answers_submission", partition=key))
    calls = counted(monkeypatch)
    sensor = build_collect_sensor(asset)
    resources = {"claude_batch": world.resource()}
    repository = dg.Definitions(assets=[asset], sensors=[sensor], resources=resources).get_repository_def()

    with dg.build_sensor_context(instance=world.instance, resources=resources, repository_def=repository) as context:
        told = sensor.evaluate_tick(context)

    asked = [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in told.run_requests or []]
    assert asked == [(keys[0], keys[N_ENDED * PER_BATCH - 1])]
    assert calls == {"list_batches": 1}, "the page holds 1,000"


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls at the border of the API from now on."""
    calls: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(AnthropicBatches, name)

        def counting(self: AnthropicBatches, *args: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(self, *args, **options)

        monkeypatch.setattr(AnthropicBatches, name, counting)

    for name in ("list_batches", "retrieve", "create", "cancel", "results"):
        count(name)
    return calls


class Key(str):
    """A partition key that counts how often it is compared."""

    __slots__ = ()
    n_compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        """Compare as text does."""
        Key.n_compared += 1
        return str.__eq__(self, other) is True


@pytest.mark.parametrize("grid", [None, "|x"], ids=["line", "grid"])
def test_five_thousand_partitions_are_gone_through_a_few_times(grid: str | None) -> None:
    """Neither grouping them nor finding those of a thousand earlier runs compares each with each."""
    keys = [Key(f"{n:05d}{grid or ''}") for n in range(5_000)]
    wanted = {Key(str(key)) for key in keys[::2]}
    tags = [{RANGE_START: str(keys[5 * n]), RANGE_END: str(keys[5 * n + 4])} for n in range(1_000)]
    Key.n_compared = 0

    found = stretches(keys, wanted, grid=grid is not None)
    places = Places(keys, grid=grid is not None)
    covered = [places.covered(dg.DagsterRun("job", tags=one)) for one in tags]

    assert (len(found), sum(map(len, covered))) == (2_500, 5_000)
    assert Key.n_compared < 20 * len(keys)
