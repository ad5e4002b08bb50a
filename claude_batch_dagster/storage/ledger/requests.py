"""What each request of a chunk asks, and in one word what came back: columns of the ledger, written and read whole."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.asking.question_hash import VERSION
from claude_batch_dagster.core.ledger import Made, Requests, State
from claude_batch_dagster.storage.ledger.schema import chunks, requests

TOGETHER = 50
"""Chunks whose columns are in memory at once, before they are unpacked."""

_EARLIER = ""
"""What stands for the version of questions some of which have a name of an earlier one."""


def write(connection: sa.Connection, chunk_id: str, sent: Requests) -> None:
    """Write down the requests of a new chunk, of which nothing has come back."""
    columns = sent._asdict() | {"outcomes": None}
    connection.execute(sa.insert(requests).values(chunk_id=chunk_id, identity=_version(sent.questions), **columns))


def read(connection: sa.Connection, chunk_id: str) -> Requests:
    """Return the requests of a chunk; none if it is not known."""
    query = sa.select(*(requests.c[name] for name in Requests._fields)).where(requests.c.chunk_id == chunk_id)
    found = connection.execute(query).first()
    if found is None:
        return Requests((), (), (), (), (), ())
    sent = Requests(*found)
    return sent._replace(outcomes=sent.outcomes or (None,) * len(sent.questions))


def note_outcomes(
    connection: sa.Connection, chunk_id: str, outcomes: Mapping[int, str], *, of_all: str | None = None
) -> None:
    """Write down what came back for some requests, by ordinal, whatever stood there; `of_all` holds for the others."""
    if not outcomes and of_all is None:
        return
    known = requests.c.chunk_id == chunk_id
    sent = connection.execute(sa.select(requests.c.attempts, requests.c.outcomes).where(known).with_for_update()).one()
    noted = [of_all] * len(sent.attempts) if of_all is not None else list(sent.outcomes or [None] * len(sent.attempts))
    for ordinal, outcome in outcomes.items():
        noted[ordinal] = outcome
    connection.execute(sa.update(requests).where(known).values(outcomes=noted))


def questions_in(connection: sa.Connection, chunk_ids: Collection[str]) -> dict[str, str]:
    """Return the questions of some chunks, each with its chunk; of two chunks with one question, the later."""
    found: dict[str, str] = {}
    for chunk_id, questions in _columns(connection, chunk_ids, requests.c.questions):
        found.update(dict.fromkeys(questions, chunk_id))
    return found


def made_in(connection: sa.Connection, chunk_ids: Collection[str], questions: AbstractSet[str]) -> dict[str, Made]:
    """Return the latest attempt at each of these questions in some chunks."""
    found: dict[str, Made] = {}
    for chunk_id, asked, attempts in _columns(connection, chunk_ids, requests.c.questions, requests.c.attempts):
        for question, number in zip(asked, attempts, strict=True):
            if question in questions and (question not in found or found[question].number <= number):
                found[question] = Made(number, chunk_id)
    return found


def partition_keys_in(
    connection: sa.Connection, chunk_ids: Collection[str]
) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """Yield of some chunks, in order, the partition of each request."""
    yield from _columns(connection, chunk_ids, requests.c.partition_keys)


def _columns(
    connection: sa.Connection, chunk_ids: Collection[str], *columns: sa.Column[Any]
) -> Iterator[tuple[Any, ...]]:
    """Yield columns of some chunks, in their order: some at a time, for they may be large."""
    wanted = sorted(chunk_ids)
    for start in range(0, len(wanted), TOGETHER):
        those = requests.c.chunk_id.in_(wanted[start : start + TOGETHER])
        query = sa.select(requests.c.chunk_id, *columns).where(those).order_by(requests.c.chunk_id)
        for row in connection.execute(query):
            yield tuple(row)


# --- names of an earlier version -------------------------------------------------------------------


def has_earlier_names(connection: sa.Connection, pipeline: str) -> bool:
    """Whether a question of the pipeline stands under a hash of an earlier version."""
    return connection.execute(_earlier(pipeline).limit(1)).first() is not None


def rename(connection: sa.Connection, pipeline: str, names: Mapping[str, str]) -> None:
    """Write the hashes of today in place of the earlier ones, which are the keys of `names`."""
    for chunk_id in connection.execute(_earlier(pipeline)).scalars().all():
        known = requests.c.chunk_id == chunk_id
        before = connection.execute(sa.select(requests.c.questions).where(known).with_for_update()).scalar_one()
        after = tuple(names.get(question, question) for question in before)
        if after != before:
            connection.execute(sa.update(requests).where(known).values(questions=after, identity=_version(after)))


def _earlier(pipeline: str) -> sa.Select[str]:
    """Select the chunks of a pipeline with questions under hashes of an earlier version."""
    return (
        sa.select(requests.c.chunk_id)
        .join(chunks, chunks.c.chunk_id == requests.c.chunk_id)
        .where(chunks.c.pipeline == pipeline, requests.c.identity != VERSION)
    )


def _version(questions: Iterable[str]) -> str:
    return VERSION if all(question.startswith(VERSION) for question in questions) else _EARLIER


def chunk_ids_in(connection: sa.Connection, pipeline: str, states: Iterable[State]) -> list[str]:
    """Return the chunks of a pipeline in these states."""
    wanted = chunks.c.state.in_([str(state) for state in states])
    query = sa.select(chunks.c.chunk_id).where(chunks.c.pipeline == pipeline, wanted)
    return list(connection.execute(query).scalars())
