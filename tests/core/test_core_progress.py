"""How far a run is, and whether it takes longer than usual."""

from datetime import UTC, datetime, timedelta

import pytest

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.reporting.progress import MIN_BATCHES, Progress, Tempo
from tests.core.world import World

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def chunk(state: State, *, name: str = "c", n: int = 10, minutes: int = 0) -> ChunkRecord:
    """Return a chunk of `n` requests whose batch was created so many minutes after noon."""
    return ChunkRecord(
        chunk_id=name,
        pipeline="main.answers",
        run_id="run",
        account="",
        state=state,
        n_requests=n,
        n_bytes=1,
        intended_at=NOON,
        batch_id=f"batch-{name}",
        batch_created_at=NOON + timedelta(minutes=minutes),
    )


def test_progress_counts_requests_by_where_their_chunk_is() -> None:
    """Sent, ended and landed add up, and the open batches are those not in the table yet."""
    chunks = [
        chunk(State.ACCEPTED, name="a", minutes=5),
        chunk(State.ENDED, name="b", n=7, minutes=1),
        chunk(State.APPLIED, name="c", n=3),
    ]

    progress = Progress.of(chunks, sent={"a", "b"})

    assert progress == Progress(n_sent=20, n_ended=10, n_landed=3, n_open_batches=2, n_before=3)
    assert progress.batch_ids == ("batch-a", "batch-b", "batch-c")
    assert (progress.oldest_open_at, progress.newest_open_at) == (
        NOON + timedelta(minutes=1), NOON + timedelta(minutes=5)
    )  # fmt: skip


def test_a_table_without_a_past_promises_no_end() -> None:
    """Until a handful of batches have ended, nobody can say."""
    assert Tempo.of([timedelta(minutes=1)] * (MIN_BATCHES - 1)) is None
    assert Tempo.of([timedelta(minutes=1)] * MIN_BATCHES) == Tempo(
        usual=timedelta(minutes=1), slow=timedelta(minutes=1)
    )


@pytest.mark.parametrize(("minutes", "slow"), [(10, False), (96, False), (97, True)])
def test_slower_than_usual_is_what_one_in_twenty_is(minutes: int, slow: bool) -> None:  # noqa: FBT001  (an example)
    """Of batches that took 0 to 100 minutes, one in twenty took more than 95."""
    tempo = Tempo.of([timedelta(minutes=n) for n in range(101)])
    progress = Progress.of([chunk(State.ACCEPTED)], sent=set())

    assert tempo == Tempo(usual=timedelta(minutes=50), slow=timedelta(minutes=95))
    assert tempo.is_slow(progress, NOON + timedelta(minutes=minutes)) is slow
    assert tempo.expected_end(progress) == NOON + timedelta(minutes=50)


def test_a_finished_run_is_expected_at_no_time() -> None:
    """Nothing is open, so nothing is late."""
    tempo = Tempo(usual=timedelta(0), slow=timedelta(0))
    progress = Progress.of([chunk(State.APPLIED)], sent=set())

    assert (tempo.expected_end(progress), tempo.is_slow(progress, NOON)) == (None, False)


@pytest.mark.verify
def test_the_past_of_a_table_is_in_the_ledger(world: World) -> None:
    """The batches of this table at this address, from their creation to their end."""
    world.documents({n: f"war {n}" for n in range(20)})
    engine = world.engine()

    world.run()

    assert engine.tempo() == Tempo(usual=timedelta(minutes=1), slow=timedelta(minutes=1))
