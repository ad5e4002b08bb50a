"""Keys of every type go there and back, or are refused before anything is sent."""

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.engine import RunReport
from claude_batch_dagster.errors import UpstreamError
from tests.core.world import World

KEPT = {
    "TIMESTAMP_NS": ["2026-11-26 12:00:00.000000001", "2026-11-26 12:00:00.000000002"],
    "TIMESTAMP_S": ["2026-11-26 12:00:00", "infinity"],
    "TIMESTAMP_MS": ["2026-11-26 12:00:00.001", "-infinity"],
    "TIMESTAMP": ["2026-11-26 12:00:00.000001", "infinity", "-infinity", "290309-12-22 (BC) 00:00:00"],
    "TIMESTAMPTZ": ["2026-11-26 12:00:00+00", "2026-11-26 12:00:00+01", "infinity"],
    "DATE": ["2026-11-26", "infinity", "-infinity", "5877642-06-25 (BC)"],
    "TIME": ["24:00:00", "12:00:00.000001"],
    "TIME_NS": ["12:00:00.000000001", "12:00:00.000000002"],
    "TIMETZ": ["12:00:00+00", "12:00:00+01"],
    "DOUBLE": ["0.1", "1e308", "5e-324", "-0.0"],
    "FLOAT": ["0.1", "16777217"],
    "DECIMAL(38,10)": ["1234567890123456789012345678.0123456789", "0"],
    "HUGEINT": ["170141183460469231731687303715884105727", "1"],
    "UHUGEINT": ["340282366920938463463374607431768211455", "1"],
    "BIGINT": ["9223372036854775807", "-9223372036854775808"],
    "UUID": ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "BOOLEAN": ["true", "false"],
    "VARCHAR": ["", " ", "null", "1", "\u2028", "x" * 10_000],
    "ENUM('a', 'b')": ["a", "b"],
}
"""Values that Python holds in another form, or not at all."""

REFUSED = ["BLOB", "INTERVAL", "BIT", "INTEGER[]", "STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)", "JSON"]


CHANGES = {
    "wider": ("INTEGER", ["1", "2"], "BIGINT", ["1", "2", "3000000000"]),
    "narrower": ("BIGINT", ["1", "3000000000"], "INTEGER", ["1"]),
    "an id is missing": ("BIGINT", ["1", "2"], "DOUBLE", ["1", "2", "3"]),
    "none is missing any more": ("DOUBLE", ["1", "2"], "BIGINT", ["1", "2", "9007199254740993"]),
    "more digits": ("DECIMAL(9,2)", ["1.25", "2"], "DECIMAL(18,4)", ["1.25", "2", "3.1234"]),
    "a time of day": ("DATE", ["2026-11-26"], "TIMESTAMP", ["2026-11-26", "2026-11-26 12:00:00"]),
    "letters": ("INTEGER", ["1", "2"], "VARCHAR", ["1", "2", "a3"]),
    "no letters": ("VARCHAR", ["1", "a3"], "INTEGER", ["1"]),
}
"""Types of a key on two days, with its values; those of the first are among those of the second, as far as they fit."""


def upstream(world: World, kind: str, values: list[str]) -> None:
    """Put one document upstream for each key."""
    texts = [f"a text of war, number {n}" for n in range(len(values))]
    world.sql(
        f"CREATE OR REPLACE TABLE docs AS SELECT unnest(?::VARCHAR[])::{kind} AS id, unnest(?::VARCHAR[]) AS text, "
        "'p' AS part",
        [values, texts],
    )


def joined(world: World) -> int:
    """Count the documents whose answer is found by their key."""
    [(n,)] = world.sql(
        "SELECT count(*) FROM docs JOIN answers USING (id) WHERE status = 'succeeded' AND answers.partition_key = 'p'"
    )
    return int(n)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KEPT)
def test_a_key_is_in_the_table_what_it_is_upstream(world: World, kind: str) -> None:
    """Each document has its own row, found by the very key; the next run asks nothing."""
    upstream(world, kind, KEPT[kind])

    report, again = world.run(), world.run()

    assert (report.failure, report.n_sent, joined(world)) == (None, len(KEPT[kind]), len(KEPT[kind]))
    assert (again.n_sent, world.n_billed) == (0, [1] * len(KEPT[kind]))


@pytest.mark.sampled
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_a_key_is_refused_before_anything_is_sent(world: World, kind: str) -> None:
    """By its name and type, with what to do."""
    world.sql(f"CREATE TABLE docs AS SELECT NULL::{kind} AS id, 'a text of war' AS text, 'p' AS part")

    with pytest.raises(UpstreamError, match=r"key column 'id' is of type .* which cannot be a key\. Nothing was sent"):
        world.run()

    assert world.n_posts == 0


@pytest.mark.sampled
@pytest.mark.parametrize("change", CHANGES)
def test_a_key_may_change_its_type(world: World, change: str) -> None:
    """As frames and loaders make it do: what was answered is found again, and paid for once."""
    first, values, second, more = CHANGES[change]
    upstream(world, first, values)
    world.run()
    upstream(world, second, more)

    report, again = world.run(), world.run()

    assert (report.failure, again.n_sent) == (None, 0)
    assert report.n_sent == len(set(more) - set(values))
    assert joined(world) == len(more)
    assert set(world.n_billed) == {1}


NOTHING = {
    "a missing number": pd.DataFrame({"id": [float("nan")], "text": ["war"], "part": ["p"]}),
    "missing objects": pd.DataFrame({"id": pd.Series([None], dtype=object), "text": ["war"], "part": ["p"]}),
    "no rows": pd.DataFrame({"id": [], "text": [], "part": []}, dtype=object),
}


@pytest.mark.verify
@pytest.mark.parametrize("kind", ["int64", "string"])
@pytest.mark.parametrize("nothing", NOTHING)
def test_a_frame_without_keys_decides_nothing(world: World, nothing: str, kind: str) -> None:
    """Neither at first, nor between two days on which there are some."""
    ids = pd.Series([1, 2] if kind == "int64" else ["1", "2"])
    frame = pd.DataFrame({"id": ids, "text": ["war", "peace"], "part": ["p", "p"]})
    days = [NOTHING[nothing], frame, NOTHING[nothing], frame]

    reports = [world.engine().run([Partition(key="p")], day) for day in days]

    assert [(report.failure, report.n_sent) for report in reports] == [(None, n) for n in (0, 2, 0, 0)]
    assert world.sql("SELECT id FROM answers ORDER BY id") == [(one,) for one in ids.tolist()]
    assert world.n_billed == [1, 1]


@pytest.mark.verify
@pytest.mark.parametrize(
    ("first", "second"), [("DATE", "INTEGER"), ("DECIMAL(38,10)", "DECIMAL(38,0)"), ("DECIMAL(18,0)", "DOUBLE")]
)
def test_a_key_of_which_no_type_holds_both_is_refused(world: World, first: str, second: str) -> None:
    """With what it costs to begin anew: nothing."""
    upstream(world, first, ["2026-11-26" if first == "DATE" else "1.5"])
    world.run()
    upstream(world, second, ["1"])

    with pytest.raises(UpstreamError, match=r"key column 'id' is .* no type holds both\. Nothing was sent.*at no cost"):
        world.run()

    world.sql("DROP TABLE answers")
    assert world.run().failure is None


def keyed(world: World, *key: str) -> RunReport:
    """Materialize with these key columns."""
    engine = world.engine()
    engine.task = replace(engine.task, upstream=replace(engine.task.upstream, key=key))
    return engine.run([Partition(key="p")])


@pytest.mark.verify
def test_a_key_may_have_more_columns_than_it_had(world: World) -> None:
    """Answers belong to questions, so they are found under the longer key as well, at no cost."""
    world.sql("CREATE TABLE docs (id INTEGER, lang VARCHAR, text VARCHAR, part VARCHAR)")
    world.sql("INSERT INTO docs VALUES (1, 'de', 'war', 'p'), (2, 'en', 'peace', 'p')")
    keyed(world, "id")

    assert keyed(world, "id", "lang").n_sent == 0
    world.sql("INSERT INTO docs VALUES (1, 'fr', 'another war', 'p')")
    assert keyed(world, "id", "lang").n_sent == 1

    assert world.sql("SELECT id, lang, status FROM answers ORDER BY ALL") == [
        (1, "de", "succeeded"),
        (1, "fr", "succeeded"),
        (2, "en", "succeeded"),
    ]


@pytest.mark.verify
def test_a_number_that_is_not_whole_is_no_key_of_whole_numbers(world: World) -> None:
    """It is not rounded to one that somebody else has."""
    upstream(world, "BIGINT", ["1", "2"])
    world.run()
    upstream(world, "DOUBLE", ["1", "2", "1.5"])

    assert world.run().n_sent == 0

    assert world.sql("SELECT id, status FROM answers ORDER BY id NULLS LAST") == [
        (1, "succeeded"),
        (2, "succeeded"),
        (None, "rejected"),
    ]


@pytest.mark.verify
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_values_of_a_type_go_there_and_back(world: World, data: st.DataObject) -> None:
    """Whatever numbers, moments and texts there are."""
    kind, one = data.draw(
        st.sampled_from(
            [
                ("TIMESTAMP", st.datetimes().map(str)),
                ("DATE", st.dates().map(str)),
                ("DOUBLE", st.floats(allow_nan=False, allow_infinity=False).map(repr)),
                ("BIGINT", st.integers(-(2**63), 2**63 - 1).map(str)),
                ("HUGEINT", st.integers(-(2**127), 2**127 - 1).map(str)),
                ("UUID", st.uuids().map(str)),
                ("VARCHAR", st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))),
            ]
        )
    )
    values = data.draw(st.lists(one, min_size=1, max_size=6, unique=True))
    world.sql("DROP TABLE IF EXISTS answers")
    world.sql('DROP TABLE IF EXISTS claude_batch."main.answers"')
    upstream(world, kind, values)
    [(n,)] = world.sql("SELECT count(DISTINCT id) FROM docs")

    assert world.run().failure is None

    assert world.sql("SELECT count(*) FROM answers WHERE status = 'succeeded'") == [(n,)]
    assert world.sql("SELECT count(DISTINCT docs.id) FROM docs JOIN answers USING (id)") == [(n,)]
