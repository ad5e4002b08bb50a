"""Which rows are drawn for a review, for how many others each stands, and that they are the same next time."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import duckdb
import numpy as np
import pytest
from pydantic import BaseModel, create_model

from claude_batch_dagster import Ask, build_batch_asset
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.reviewing import Labelled, Review
from claude_batch_dagster.errors import ConfigurationError, UpstreamError
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.review import Draw

THEMES = Literal["war", "peace"]
N_ROWS = 1_000
N_SEEDS = 400


class Label(BaseModel):
    """A label, and how sure it is."""

    label: THEMES
    confidence: float


class Votes(Label):
    """Two labels that should be the same."""

    second_label: THEMES


Rows = list[dict[str, Any]]


class Place:
    """A database with documents and answers, in memory."""

    def __init__(self, model: type[BaseModel] = Label, key: str | Sequence[str] = "id", sql: str = "") -> None:
        asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{text}", model), key=key)
        self.task = declaration_of(asset).task
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("CREATE SCHEMA public")
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS other")
        self.connection.execute(sql or TABLES)

    def draw(self, **settings: Any) -> Rows:
        """Draw once, and return the queue."""
        self.connection.begin()
        self._draw(settings).draw()
        self.connection.commit()
        return self.rows("public.answers_review")

    def pick(self, **settings: Any) -> list[tuple[int, float]]:
        """Draw once, and return keys and weights alone, which takes less time than a queue."""
        self._draw(settings).pick()
        query = "SELECT id, weight FROM _cb_drawn JOIN public.answers AS t ON t.rowid = _cb_row"
        return self.connection.execute(query).fetchall()

    def _draw(self, settings: dict[str, Any]) -> Draw:
        reader = Reader.of(self.connection, self.task.upstream, target=self.task.target)
        review = Review(task=self.task, **settings)
        return Draw(connection=self.connection, review=review, reader=reader, partitions_of=partitions)

    def rows(self, table: str) -> Rows:
        """Return the rows of a table, in its order."""
        relation = self.connection.sql(f"FROM {table}")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def partitions(keys: Sequence[str | None]) -> list[Partition]:
    """Return partitions of the keys."""
    return [Partition(key=key) for key in keys]


TABLES = f"""
CREATE TABLE public.documents AS SELECT i AS id, 'text ' || i AS text FROM range({N_ROWS}) AS r(i);
CREATE TABLE public.answers AS SELECT i AS id, if(i % 3 = 0, 'war', 'peace') AS label,
    CASE WHEN i % 10 < 2 THEN 0.5 WHEN i % 10 < 6 THEN 0.7 ELSE 0.9 END::DOUBLE AS confidence,
    if(i % 3 = 0 AND i % 40 <> 0, 'war', 'peace') AS second_label,
    if(i % 97 = 96, 'invalid', 'succeeded') AS status, NULL::VARCHAR AS partition_key
FROM range({N_ROWS}) AS r(i);
"""  # noqa: S608  (SQL of the test's own)
"""Confidences are few, as models give them: most rows are tied with others. Votes differ on nine rows."""

N_SUCCEEDED = sum(i % 97 != 96 for i in range(N_ROWS))
DIFFERENT = {i for i in range(N_ROWS) if i % 120 == 0}


def reasons(rows: Rows) -> Counter[str]:
    """Count rows by why they are there."""
    return Counter(row["reason"] for row in rows)


# --- what is drawn -----------------------------------------------------------------------------------


def test_one_half_is_least_sure_and_the_other_by_chance() -> None:
    """The weights add up to all that could be drawn, and rows without an answer are not there."""
    rows = Place().draw(rows=60)

    assert reasons(rows) == {"unsure": 30, "audit": 30}
    assert {row["confidence"] for row in rows if row["reason"] == "unsure"} == {0.5}
    assert {row["weight"] for row in rows if row["reason"] == "unsure"} == {1.0}
    assert {row["weight"] for row in rows if row["reason"] == "audit"} == {(N_SUCCEEDED - 30) / 30}
    assert sum(row["weight"] for row in rows) == pytest.approx(N_SUCCEEDED)
    assert [row["id"] for row in rows if row["id"] % 97 == 96] == []
    assert len({row["id"] for row in rows}) == 60


def test_a_row_says_what_was_asked_and_answered_and_what_is_to_be_filled_in() -> None:
    """Columns in order; the true value is not there yet, under the very name of the field."""
    place = Place()

    rows = place.draw(rows=5)

    assert [*rows[0]] == ["id", "text", "answered_label", "reason", "confidence", "weight", "label"]
    for row in rows:
        assert row["text"] == f"text {row['id']}"
        assert row["answered_label"] == ("war" if row["id"] % 3 == 0 else "peace")
        assert row["label"] is None
    kinds = dict(
        place.connection.sql("SELECT column_name, column_type FROM (DESCRIBE public.answers_review)").fetchall()
    )
    assert (kinds["weight"], kinds["label"], kinds["id"]) == ("DOUBLE", "VARCHAR", "BIGINT")


def test_rows_on_which_votes_differ_come_behind_the_least_sure() -> None:
    """One half of those that are there for certain, at most; what they leave goes to the least sure again."""
    rows = Place(Votes).draw(rows=40, votes=("label", "second_label"))
    few = Place(Votes).draw(rows=12, votes=("label", "second_label"))

    assert reasons(rows)["audit"] == 20
    assert {row["id"] for row in rows if row["reason"] == "votes differ"} <= DIFFERENT
    doubted = {row["id"] for row in rows if row["reason"] != "audit"}
    assert doubted >= DIFFERENT
    assert reasons(few) == {"unsure": 3, "votes differ": 3, "audit": 6}
    assert {row["weight"] for row in rows if row["reason"] != "audit"} == {1.0}
    assert "second_label" not in rows[0]  # one true value is enough
    assert "answered_second_label" in rows[0]


def test_votes_alone_tell_unsure_rows() -> None:
    """What there are too few of is drawn by chance."""
    rows = Place(Votes).draw(rows=40, votes=("label", "second_label"), confidence=None)

    assert {row["id"] for row in rows if row["reason"] == "votes differ"} == DIFFERENT
    assert reasons(rows) == {"votes differ": len(DIFFERENT), "audit": 40 - len(DIFFERENT)}


def test_without_a_confidence_all_is_by_chance() -> None:
    """Each row stands for as many as any other."""
    rows = Place().draw(rows=50, confidence=None)

    assert reasons(rows) == {"audit": 50}
    assert {row["weight"] for row in rows} == {N_SUCCEEDED / 50}
    assert "confidence" not in rows[0]


@pytest.mark.parametrize("share", [0, 0.25, 0.99])
def test_the_share_says_how_many_are_there_for_certain(share: float) -> None:
    """One row at least is drawn by chance, or nothing could be said of those that nobody reads."""
    rows = Place().draw(rows=40, unsure_share=share)

    assert reasons(rows)["unsure"] == min(round(40 * share), 39)
    assert reasons(rows).total() == 40
    assert sum(row["weight"] for row in rows) == pytest.approx(N_SUCCEEDED)


@pytest.mark.parametrize("nothing", ["NULL", "'nan'::DOUBLE", "'inf'::DOUBLE"])
def test_a_row_without_a_confidence_is_the_least_sure(nothing: str) -> None:
    """Nobody knows how sure it is."""
    place = Place()
    place.connection.execute(f"UPDATE public.answers SET confidence = {nothing} WHERE id IN (7, 8)")  # noqa: S608  (SQL of the test's own)

    rows = place.draw(rows=10)

    unsure = {row["id"]: row["confidence"] for row in rows if row["reason"] == "unsure"}
    assert {key: value for key, value in unsure.items() if value is None} == {7: None, 8: None}


def test_confidences_of_other_types_order_rows_too() -> None:
    """As of one to ten."""
    model = create_model("Scored", label=(THEMES, ...), points=(int, ...))
    place = Place(model)
    place.connection.execute("ALTER TABLE public.answers ADD COLUMN points BIGINT")
    place.connection.execute("UPDATE public.answers SET points = id % 100")

    rows = place.draw(rows=10, confidence="points")

    assert {row["confidence"] for row in rows if row["reason"] == "unsure"} == {0.0}
    assert [*rows[0]][-4:] == ["reason", "confidence", "weight", "label"]


def test_fewer_rows_than_asked_for_are_all_there() -> None:
    """Each stands for itself."""
    place = Place()
    place.connection.execute("DELETE FROM public.answers WHERE id >= 20")

    rows = place.draw(rows=200)

    assert {row["id"] for row in rows} == set(range(20))
    assert {row["weight"] for row in rows} == {1.0}


def test_a_table_without_rows_gives_a_queue_without_rows() -> None:
    """It has its columns all the same."""
    place = Place()
    place.connection.execute("DELETE FROM public.answers")

    assert place.draw() == []
    assert place.connection.sql("FROM public.answers_review").columns[-1] == "label"


def test_an_output_without_a_closed_list_is_filled_in_too() -> None:
    """A plain number has its empty column, of its own type; the confidence has none."""
    place = Place(create_model("Score", score=(float, ...), confidence=(float, ...)))
    place.connection.execute("ALTER TABLE public.answers ADD COLUMN score DOUBLE")

    rows = place.draw(rows=3)

    assert [*rows[0]][-5:] == ["answered_score", "reason", "confidence", "weight", "score"]
    assert {row["score"] for row in rows} == {None}


# --- the same again ----------------------------------------------------------------------------------


def test_the_same_table_gives_the_same_queue() -> None:
    """In the same order, whatever the order of the rows of the table, and however many threads there are."""
    place, other = Place(), Place()
    other.connection.execute("SET threads = 4")
    other.connection.execute("CREATE OR REPLACE TABLE public.answers AS FROM public.answers ORDER BY hash(id)")
    other.connection.execute("CREATE OR REPLACE TABLE public.documents AS FROM public.documents ORDER BY id DESC")

    first = place.draw(rows=80)

    assert place.draw(rows=80) == first
    assert other.draw(rows=80) == first


def test_a_draw_is_one_for_good() -> None:
    """By MD5 of seed, purpose and key, as Python has it: no version of DuckDB gives other rows, or another order."""
    place = Place()

    def by(purpose: str, key: int) -> str:
        name = f"review:{purpose}:{len(str(key))}:{key}"
        return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()

    sure = {row["id"]: row["confidence"] for row in place.rows("public.answers") if row["status"] == "succeeded"}
    unsure = sorted(sure, key=lambda key: (sure[key], by("unsure", key)))[:5]
    audit = sorted(sure.keys() - {*unsure}, key=lambda key: by("audit", key))[:5]
    known = sorted([*unsure, *audit], key=lambda key: by("order", key))
    assert [row["id"] for row in place.draw(rows=10)] == known == [180, 2, 899, 590, 40, 0, 150, 709, 550, 362]


def test_another_seed_draws_other_rows() -> None:
    """Nearly all of them."""
    one, other = ({row["id"] for row in Place().draw(rows=50, seed=seed)} for seed in "ab")

    assert len(one & other) < 20


def test_the_order_does_not_tell_why_a_row_is_there() -> None:
    """Rows of both kinds are in both halves, as chance has it."""
    rows = Place().draw(rows=200)

    halves = [reasons(half)["unsure"] for half in (rows[:100], rows[100:])]
    assert sum(halves) == 100
    assert all(30 <= n <= 70 for n in halves)


def test_keys_that_read_alike_are_different_rows() -> None:
    """Where one value ends and the next begins is told: each has a place of its own."""
    place = Place(
        key=["a", "b"],
        sql="""
        CREATE TABLE public.documents AS SELECT * FROM
            (VALUES ('x', 'yz', 't1'), ('xy', 'z', 't2'), ('', 'xyz', 't3'), ('1:x', '', 't4')) AS t(a, b, text);
        CREATE TABLE public.answers AS SELECT a, b, 'war' AS label, 0.5::DOUBLE AS confidence, 'succeeded' AS status,
            NULL::VARCHAR AS partition_key FROM public.documents;
        """,
    )

    rows = place.draw()

    assert sorted((row["a"], row["b"], row["text"]) for row in rows) == [
        ("", "xyz", "t3"),
        ("1:x", "", "t4"),
        ("x", "yz", "t1"),
        ("xy", "z", "t2"),
    ]
    names = place.connection.sql("SELECT count(DISTINCT _cb_name) FROM _cb_eligible").fetchall()
    assert names == [(4,)]


# --- what is labelled already ------------------------------------------------------------------------


def labelled(place: Place, sql: str) -> Labelled:
    """Return a table of labels, made by a query."""
    place.connection.execute(f"CREATE TABLE public.gold AS {sql}")
    return Labelled(relation='"public"."gold"', shown_as="table public.gold")


def test_rows_that_are_labelled_are_not_drawn_again() -> None:
    """The weights add up to the others: keys are compared as text, as a file has them."""
    place = Place()
    gold = labelled(place, "SELECT id::VARCHAR AS id, 'war' AS label FROM public.answers WHERE id % 2 = 0")

    rows = place.draw(rows=100, labelled=gold)

    assert {row["id"] % 2 for row in rows} == {1}
    odd = sum(i % 2 == 1 and i % 97 != 96 for i in range(N_ROWS))
    assert sum(row["weight"] for row in rows) == pytest.approx(odd)


@pytest.mark.parametrize(
    ("sql", "n_labelled"),
    [
        ("SELECT id, if(id < 5, 'war', NULL) AS label FROM range(10) AS r(id)", 5),
        ("SELECT id, if(id < 5, ' ', 'war') AS label FROM range(10) AS r(id)", 5),
        ("SELECT id, 'read' AS remark FROM range(10) AS r(id)", 10),
        ("SELECT id, 'war' AS LABEL, 'x' AS partition_key FROM range(10) AS r(id)", 10),
        ("SELECT NULL::BIGINT AS id, 'war' AS label", 0),
    ],
    ids=["null", "blank", "no-field", "other-case", "no-key"],
)
def test_a_row_is_labelled_where_it_has_a_true_value(sql: str, n_labelled: int) -> None:
    """A file that came back half filled in leaves the other half to be drawn."""
    place = Place()
    place.connection.execute("DELETE FROM public.answers WHERE id >= 10")

    rows = place.draw(labelled=labelled(place, sql))

    assert len(rows) == 10 - n_labelled


def test_labels_that_are_not_there_are_an_error() -> None:
    """To take a table that is missing for one without labels would have a person read the same rows again."""
    place = Place()

    with pytest.raises(UpstreamError, match=r"the labelled table public.gold cannot be read.*leave labelled= out"):
        place.draw(labelled=Labelled(relation="public.gold", shown_as="table public.gold"))
    place.connection.rollback()
    with pytest.raises(UpstreamError, match=r"needs column 'id', which the labelled table public.gold does not have"):
        place.draw(labelled=labelled(place, "SELECT 1 AS number"))


# --- what must be there, and must not be lost --------------------------------------------------------


def test_labels_in_the_queue_of_before_are_kept() -> None:
    """Nothing is written over what took a person's time."""
    place = Place()
    before = place.draw(rows=10)
    place.connection.execute("UPDATE public.answers_review SET label = 'war' WHERE rowid = 3")

    with pytest.raises(ConfigurationError, match=r"public.answers_review holds labels"):
        place.draw(rows=10, seed="other")

    place.connection.rollback()
    assert [row["id"] for row in place.rows("public.answers_review")] == [row["id"] for row in before]


def test_another_table_of_that_name_is_kept() -> None:
    """It may be anybody's."""
    place = Place()
    place.connection.execute("CREATE TABLE public.answers_review AS SELECT 1 AS id")

    with pytest.raises(ConfigurationError, match="is no review queue"):
        place.draw()


def test_tables_that_are_not_there_are_named() -> None:
    """With their columns, where one of these is missing."""
    place = Place()
    with pytest.raises(UpstreamError, match=r"needs column 'body', which the upstream table public.documents does not"):
        place.draw(columns=["body"])
    place.connection.rollback()
    place.connection.execute("ALTER TABLE public.answers DROP COLUMN confidence")
    with pytest.raises(UpstreamError, match=r"needs column 'confidence', which the table public.answers does not have"):
        place.draw()
    place.connection.rollback()
    place.connection.execute("DROP TABLE public.answers")
    with pytest.raises(UpstreamError, match=r"there is no table public.answers of answers yet"):
        place.draw()


def test_a_document_that_is_gone_leaves_its_row_empty() -> None:
    """It was answered, so it counts."""
    place = Place()
    place.connection.execute("DELETE FROM public.documents WHERE id % 2 = 0")

    rows = place.draw(rows=50)

    assert len(rows) == 50
    assert {row["text"] is None for row in rows if row["id"] % 2 == 0} == {True}


def test_documents_in_bytes_are_shown_as_text() -> None:
    """Those that are none are not shown, and stop nothing."""
    place = Place()
    place.connection.execute("ALTER TABLE public.documents ALTER text TYPE BLOB USING encode('é' || text)")
    place.connection.execute(r"UPDATE public.documents SET text = '\xFF'::BLOB WHERE id % 2 = 0")

    rows = place.draw(rows=20)

    assert {row["id"]: row["text"] for row in rows} == {
        row["id"]: None if row["id"] % 2 == 0 else f"étext {row['id']}" for row in rows
    }


def test_a_column_of_the_documents_is_there_once() -> None:
    """Where the prompt names the key, or a column twice."""
    place = Place()
    ask = Ask("{id} {text} {ID} {text}", Label)
    asset = build_batch_asset(name="answers", upstream="documents", ask=ask)
    place.task = replace(declaration_of(asset).task)

    assert [*place.draw(rows=1)[0]][:3] == ["id", "text", "answered_label"]


# --- without bias ------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (Label, {"rows": 60}),
        (Label, {"rows": 60, "unsure_share": 0.2}),
        (Label, {"rows": 40, "unsure_share": 0.9}),
        (Label, {"rows": 60, "unsure_share": 0}),
        (Votes, {"rows": 60, "votes": ("label", "second_label")}),
    ],
    ids=["half", "fifth", "most", "none", "votes"],
)
def test_weighted_labels_say_without_bias_how_right_the_answers_are(
    model: type[BaseModel], settings: dict[str, Any]
) -> None:
    """
    Over many seeds the weighted share of errors is the true one, within three standard errors.

    Errors are where confidence is low, and where the ties of a confidence are cut: what reads unsure rows alone, or
    draws the tied ones that are left too seldom, is far off.
    """
    place, rng = Place(model), np.random.default_rng(20_262)
    likely = {0.5: 0.6, 0.7: 0.3, 0.9: 0.05}
    answers = {row["id"]: row for row in place.rows("public.answers") if row["status"] == "succeeded"}
    wrong = {key for key, row in answers.items() if rng.random() < likely[row["confidence"]]}

    shares = []
    for seed in range(N_SEEDS):
        drawn = place.pick(seed=f"seed {seed}", **settings)
        weights = np.array([weight for _, weight in drawn])
        shares.append(float(weights @ [key in wrong for key, _ in drawn] / weights.sum()))

    truth, standard_error = len(wrong) / len(answers), np.std(shares, ddof=1) / np.sqrt(N_SEEDS)
    assert abs(np.mean(shares) - truth) < 3 * standard_error


def test_every_row_has_the_chance_that_its_weight_says() -> None:
    """Over many seeds no row of those that are drawn by chance is drawn more often than another."""
    place = Place()
    place.connection.execute("DELETE FROM public.answers WHERE id >= 50")
    drawn: Counter[int] = Counter()
    n_seeds = N_SEEDS // 4
    for seed in range(n_seeds):
        drawn.update(key for key, _ in place.pick(rows=20, seed=str(seed), confidence=None))

    expected, spread = n_seeds * 0.4, np.sqrt(n_seeds * 0.4 * 0.6)
    assert len(drawn) == 50
    assert max(abs(n - expected) for n in drawn.values()) < 4 * spread
