"""A cascade: a cheap model asks all rows, and a strong one those that it is unsure of."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import Ask, Budget, Cascade, build_classification_asset
from claude_batch_dagster.assets.labels import label_model
from claude_batch_dagster.emulator import Emulator, SystemClock
from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

CHEAPEST, CHEAP, STRONG = "claude-haiku-4-5", "claude-haiku-5-5", "claude-opus-5-5"
WORDS = {
    "economy": "tax tariff trade market price income business industry wage customs export credit",
    "war": "army navy battle soldier fleet fort siege cavalry regiment enemy weapon militia",
    "law": "court judge crime statute jury prison trial lawyer verdict appeal police constitution",
}
N = 500
CAREFUL = Cascade(to=STRONG, agreement=0.98, pairs=200)
"""Of texts that are hard to tell apart, more than the sample goes up."""


def texts(n: int = N, seed: int = 7, *, clear: float = 0.8) -> list[str]:
    """Return texts most of which are clearly of one label, and some of which are not."""
    drawn, labels = random.Random(seed), list(WORDS)  # noqa: S311  (the same ones each time)
    found = []
    for at in range(n):
        words = {label: WORDS[label].split() for label in labels}
        main, other = drawn.sample(labels, 2)
        is_clear = drawn.random() < clear
        own, strange = (
            (drawn.sample(words[main], 4), [])
            if is_clear
            else (
                drawn.sample(words[main], 3),
                drawn.sample(words[other], 2),
            )
        )
        found.append(" ".join([*own, *strange, f"number {at}"]))
    return found


@pytest.fixture
def unlike(other_world: Callable[[Emulator], "DagsterWorld"]) -> "DagsterWorld":
    """Return a world with five hundred documents, and models that differ."""
    world = other_world(Emulator(clock=SystemClock(), batch_seconds=0, unlike_models=True))
    write(world, texts())
    return world


def write(world: "DagsterWorld", lines: list[str]) -> None:
    """Write documents, in two years."""
    world.write_documents(
        [(f"d{n:03}", text, "1790-01-05" if n % 2 else "1791-05-05") for n, text in enumerate(lines)], canary=False
    )


def declare(**options: Any) -> dg.AssetsDefinition:
    """Declare a cascade."""
    given = {"labels": WORDS, "confidences": True, "model": CHEAP, "escalate_to": STRONG, **options}
    return build_classification_asset(name="answers", upstream="documents", **given)


def decided(world: "DagsterWorld") -> dict[str | None, int]:
    """Count rows by the model that has decided them."""
    return dict(world.read("SELECT decided_by, count(*)::INT FROM public.answers GROUP BY ALL"))


def n_billed(world: "DagsterWorld") -> int:
    """Count the requests that were answered, and so paid for."""
    return sum(request.billed for request in world.emulator.audit.requests())


def test_the_strong_model_decides_what_the_cheap_one_is_unsure_of(unlike: "DagsterWorld") -> None:
    """Each row once to the cheap model; some once to the strong one; most rows keep the cheap answer, and agree."""
    result = unlike.run(declare())

    assert unlike.statuses() == {"succeeded": N}
    by = decided(unlike)
    assert set(by) == {CHEAP, STRONG}
    assert by[CHEAP] > by[STRONG] - 400, "beyond the sample few go up"
    assert n_billed(unlike) == N + by[STRONG]
    assert unlike.paid_twice == []
    [materialized] = result.asset_materializations_for_node("answers")
    assert materialized.metadata["claude_batch/rows_escalated"].value == by[STRONG]
    threshold = materialized.metadata["claude_batch/escalated_below"].value
    [(lowest,)] = unlike.read("SELECT min(confidence) FROM public.answers WHERE decided_by = 'claude-haiku-5-5'")
    assert lowest >= threshold
    assert materialized.metadata["claude_batch/rows_asked"].value == N + by[STRONG]

    unlike.run(declare())
    assert n_billed(unlike) == N + by[STRONG], "a second run pays for nothing"
    assert decided(unlike) == by


@pytest.mark.verify
def test_the_promise_is_kept_against_the_strong_model_itself(unlike: "DagsterWorld") -> None:
    """Asked all rows, it gives the answer that the table has in at least 98 of 100."""
    write(unlike, texts(clear=0.4))
    unlike.run(declare(model=CHEAPEST, escalate_to=CAREFUL))
    alone = build_classification_asset(name="alone", upstream="documents", labels=WORDS, confidences=True, model=STRONG)
    unlike.run(alone)

    agrees = "SELECT avg((a.label = s.label)::INT) FROM public.{} a JOIN public.alone s USING (id)"
    assert unlike.read(agrees.format("answers_first_pass"))[0][0] < 0.98, "the cheap one alone would not keep it"
    assert unlike.read(agrees.format("answers"))[0][0] >= 0.98
    assert 200 < decided(unlike)[STRONG] < N, "the sample, and those that are unsure"


def test_the_page_of_the_asset_says_who_decides() -> None:
    """Both models are named, and the column that tells them apart is described; a description of the user's stays."""
    asset = declare()

    [spec] = asset.specs
    assert str(spec.description).startswith(
        "Rows of which `claude-haiku-5-5` is unsure are decided by `claude-opus-5-5`"
    )
    assert "decided_by" in [column.name for column in spec.metadata["dagster/column_schema"].columns]
    assert spec.metadata["claude_batch/escalates_to"] == STRONG
    [described] = declare(description="Mine.").specs
    assert described.description == "Mine."


@pytest.mark.verify
def test_of_few_rows_all_go_up(unlike: "DagsterWorld") -> None:
    """Thirty are fewer than it takes to choose a threshold by: the strong model decides all of them."""
    write(unlike, texts(30))

    unlike.run(declare())

    assert decided(unlike) == {STRONG: 30}
    assert n_billed(unlike) == 60


@pytest.mark.verify
def test_partitions_share_a_threshold_and_a_row_is_decided_once(
    unlike: "DagsterWorld", years: dg.TimeWindowPartitionsDefinition
) -> None:
    """A second year is judged by pairs of both; the rows of the first stay as they are decided."""
    asset = declare(partitions_def=years, partition_expr="published_on", escalate_to=Cascade(to=STRONG, pairs=150))
    unlike.run(asset, partition="1790")
    before = unlike.read("SELECT id, label, decided_by FROM public.answers ORDER BY id")
    assert len(before) == N / 2
    unlike.run(asset, partition="1791")

    after = unlike.read("SELECT id, label, decided_by FROM public.answers WHERE partition_key = '1790' ORDER BY id")
    assert after == before
    assert unlike.statuses() == {"succeeded": N}
    sent = n_billed(unlike)
    assert sent == N + decided(unlike)[STRONG]

    unlike.run(asset, span=("1790", "1793"))
    assert unlike.read("SELECT count(*) FROM public.answers_first_pass") == [(N,)]
    assert unlike.paid_twice == []


@pytest.mark.verify
def test_a_changed_document_begins_anew_and_others_stay(unlike: "DagsterWorld") -> None:
    """The cheap model is asked of it, and if it is sure the strong one is not, whatever was before."""
    lines = texts(clear=0.4)
    write(unlike, lines)
    unlike.run(declare(model=CHEAPEST, escalate_to=CAREFUL))
    before, by = n_billed(unlike), decided(unlike)
    went_up = "FROM claude_batch.\"public.answers escalated\" WHERE _cb_reason = 'unsure'"
    [(unsure,)] = unlike.read(f"SELECT min(id) {went_up}")
    lines[int(unsure[1:])] = "army navy battle soldier fleet fort siege cavalry regiment enemy"
    write(unlike, lines)

    unlike.run(declare(model=CHEAPEST, escalate_to=CAREFUL))

    assert n_billed(unlike) == before + 1
    assert decided(unlike) == {CHEAPEST: by[CHEAPEST] + 1, STRONG: by[STRONG] - 1}
    assert unlike.read(f"SELECT label FROM public.answers WHERE id = '{unsure}'") == [("war",)]  # noqa: S608  (as above)
    assert unlike.statuses() == {"succeeded": N}


@pytest.mark.verify
def test_what_the_cheap_model_cannot_answer_goes_up(unlike: "DagsterWorld") -> None:
    """An answer that fits no label is none: the strong model decides."""
    unlike.emulator.answers.add("number 499", {"label": "nonesuch"}, model=CHEAP)

    unlike.run(declare(escalate_to=Cascade(to=STRONG, pairs=100)))

    assert unlike.statuses() == {"succeeded": N}
    assert unlike.read("SELECT decided_by FROM public.answers WHERE id = 'd499'") == [(STRONG,)]
    [(status,)] = unlike.read("SELECT status FROM public.answers_first_pass WHERE id = 'd499'")
    assert status == "invalid"


@pytest.mark.verify
def test_both_models_spend_from_one_budget_and_what_waits_says_so(unlike: "DagsterWorld") -> None:
    """What is sent to either can never cost more; unsure rows keep the cheap answer until there is new money."""
    unlike.run(declare(budget=Budget(usd=0.30, per="day"), canary=0))

    [(spent,)] = unlike.read("SELECT sum(cost_usd) FROM public.answers")
    assert spent <= 0.30
    assert unlike.statuses() == {"succeeded": N}
    n_before = n_billed(unlike)
    assert n_before < N + 400, "not even the sample is answered, so nobody knows yet which rows are unsure"

    unlike.run(declare(budget=Budget(usd=10, per="day"), canary=0))
    assert n_billed(unlike) == N + decided(unlike)[STRONG]
    assert decided(unlike)[STRONG] < N, "and no row goes up for lack of money at an earlier time"
    assert unlike.paid_twice == []


@pytest.mark.verify
def test_two_votes_say_what_the_cheap_model_is_unsure_of(unlike: "DagsterWorld") -> None:
    """Asked in other words too, it is unsure where both answers differ, and no confidence is needed."""
    fewer = {label: " ".join(words.split()[:8]) for label, words in WORDS.items()}
    vote = Ask("Of what is this?\n{text}", label_model(fewer), model=CHEAPEST)
    asset = declare(
        confidences=False, model=CHEAPEST, escalate_to=Cascade(to=STRONG, vote=vote, agreement=0.98, pairs=200)
    )

    result = unlike.run(asset)

    [materialized] = result.asset_materializations_for_node("answers")
    assert materialized.metadata["claude_batch/escalated_below"].value == 1
    kept = unlike.read(
        "SELECT count(*)::INT FROM public.answers a JOIN public.answers_first_pass f USING (id) "
        "JOIN public.answers_second_vote v USING (id) "
        "WHERE a.decided_by = 'claude-haiku-4-5' AND f.label <> v.label"
    )
    assert kept == [(0,)]
    by = decided(unlike)
    assert 200 <= by[STRONG] < N
    assert n_billed(unlike) == 2 * N + by[STRONG]
    unlike.run(asset)
    assert unlike.paid_twice == []
    assert n_billed(unlike) == 2 * N + by[STRONG]


@pytest.mark.verify
def test_one_key_in_two_partitions_is_two_rows(
    unlike: "DagsterWorld", years: dg.TimeWindowPartitionsDefinition
) -> None:
    """Of a key that each year has, the row goes up that is unsure, and its namesake does not."""
    lines = texts(400)
    unlike.write_documents(
        [(f"d{n % 200:03}", text, "1790-01-05" if n < 200 else "1791-05-05") for n, text in enumerate(lines)],
        canary=False,
    )
    asset = declare(partitions_def=years, partition_expr="published_on", escalate_to=Cascade(to=STRONG, pairs=100))

    unlike.run(asset, span=("1790", "1793"))

    up = unlike.read("SELECT count(*) FROM public.answers_escalated")
    assert up == [(decided(unlike)[STRONG],)]
    assert n_billed(unlike) == 400 + up[0][0]


@pytest.mark.verify
def test_a_table_that_becomes_a_cascade_keeps_the_rows_of_other_partitions(
    unlike: "DagsterWorld", years: dg.TimeWindowPartitionsDefinition
) -> None:
    """What one model has answered is shown until the cascade comes to it, and is paid for once."""
    parted: dict[str, Any] = {"partitions_def": years, "partition_expr": "published_on"}
    unlike.run(declare(**parted, escalate_to=None), span=("1790", "1793"))
    assert n_billed(unlike) == N

    unlike.run(declare(**parted, escalate_to=Cascade(to=STRONG, pairs=100)), partition="1790")

    rows = dict(unlike.read("SELECT partition_key, count(*)::INT FROM public.answers GROUP BY ALL"))
    assert rows == {"1790": N // 2, "1791": N // 2}
    assert n_billed(unlike) == N + decided(unlike)[STRONG]


@pytest.mark.verify
def test_a_wider_key_keeps_what_went_up(unlike: "DagsterWorld") -> None:
    """As pandas makes one: the rows that went up are the same, and no further one is sent."""
    lines = [(n, text, "1790-01-05") for n, text in enumerate(texts(200))]
    kinds = "id {}, text VARCHAR, published_on DATE"
    unlike.write_documents(lines, kinds=kinds.format("INTEGER"), canary=False)
    unlike.run(declare(escalate_to=Cascade(to=STRONG, pairs=100)))
    n_before = n_billed(unlike)

    unlike.write_documents(lines, kinds=kinds.format("BIGINT"), canary=False)
    unlike.run(declare(escalate_to=Cascade(to=STRONG, pairs=100)))

    assert n_billed(unlike) == n_before


@pytest.mark.verify
def test_a_limit_is_one_of_both_models(unlike: "DagsterWorld") -> None:
    """Whoever asks for ten questions to look at pays for ten."""
    unlike.run(declare(), config={"limit": 10})

    assert n_billed(unlike) <= 10


def test_a_dry_run_says_what_it_would_cost_at_most(unlike: "DagsterWorld") -> None:
    """The plan of the cheap model, and that of the strong one if all rows went up; nothing is sent."""
    result = unlike.run(declare(), config={"dry_run": True})

    assert unlike.n_posts == 0
    told = [entry.user_message for entry in unlike.instance.all_logs(result.run_id)]
    [most] = [one for one in told if "of these rows go up to claude-opus-5-5" in one]
    assert "If all of them did: 500 requests, about $" in most


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"confidences": False}, "needs an output field 'confidence' that is a number"),
        ({"escalate_to": CHEAP}, "from claude-haiku-5-5 to itself"),
        ({"escalate_to": Cascade(to=STRONG, compared=["labl"])}, "which is no output field"),
        ({"upstream": dg.AssetIn("documents")}, "contradict each other"),
        ({"key": "decided_by"}, "call the key or"),
    ],
)
def test_what_cannot_be_a_cascade_is_refused_where_it_is_declared(options: dict[str, Any], told: str) -> None:
    """With what there is instead."""
    given = {"labels": WORDS, "confidences": True, "model": CHEAP, "escalate_to": STRONG, "upstream": "documents"}
    with pytest.raises(ConfigurationError, match=told):
        build_classification_asset(name="answers", **{**given, **options})


@pytest.mark.parametrize(
    ("settings", "told"), [({"pairs": 50}, "59 are the fewest"), ({"agreement": 1.0}, "a share between 0 and 1")]
)
def test_what_nobody_can_promise_is_refused(settings: dict[str, Any], told: str) -> None:
    """Before anything is declared."""
    with pytest.raises(ConfigurationError, match=told):
        Cascade(to=STRONG, **settings)
