"""Trials: which candidate is the cheapest that is right often enough, found out on gold rows and no others."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import orjson
import pytest
from pydantic import BaseModel

from claude_batch_dagster import Ask, Budget, build_batch_asset, build_trials_asset
from claude_batch_dagster.assets.trials import trials_of
from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import ConfigurationError, GoldError
from claude_batch_dagster.runs.trial_judging import is_chosen_by
from tests.dagster.conftest import LABELS

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

N = 160
"""Gold rows."""
OTHERS = 20
"""Rows that are not gold."""

HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
SKILLS = {HAIKU: 60, SONNET: 95, OPUS: 98}
"""Of a hundred gold rows, how many each model is right on."""

NAMES = list(LABELS)
SPENT = "SELECT model, sum(cost_usd) FROM claude_batch.spending GROUP BY ALL"


class Answer(BaseModel):
    """A label of any kind."""

    label: str


class Two(BaseModel):
    """Two labels, one of them about something else."""

    label: Literal["economy", "war", "other"]
    tone: Literal["calm", "angry"]


def number_in(text: str) -> int:
    """Return the number of the document that a message is about."""
    return int(text.partition("number ")[2].partition(",")[0])


def truth(n: int) -> str:
    """Return the true label of a document."""
    return NAMES[n % 3]


def answered(n: int, percent: int) -> str:
    """Return what somebody answers who is right that often: right on the documents that whoever knows less is."""
    return truth(n) if n * 37 % 100 < percent else truth(n + 1)


def teach(emulator: Emulator, skills: Mapping[str, int]) -> None:
    """Let models answer with these skills."""
    for model, percent in skills.items():
        for label in NAMES:

            def fits(text: str, percent: int = percent, label: str = label) -> bool:
                return answered(number_in(text), percent) == label

            emulator.answers.add(fits, {"label": label}, model=model)


@pytest.fixture
def trying(world: "DagsterWorld", emulator: Emulator) -> Iterator["DagsterWorld"]:
    """Return a world with documents, gold rows of most of them, and models of unlike skill."""
    world.write_documents([(f"d{n:03}", f"number {n}, a document", f"179{n % 2}-05-05") for n in range(N + OTHERS)])
    write_gold(world, range(N))
    teach(emulator, SKILLS)
    yield world
    emulator.answers.clear()
    assert emulator.answers.problems == []


def write_gold(world: "DagsterWorld", numbers: range, more: str = "") -> None:
    """Write the true labels of documents into a table."""
    listed = ", ".join(f"('d{n:03}', '{truth(n)}')" for n in numbers)
    world.write(f"CREATE OR REPLACE TABLE public.labelled AS SELECT *{more} FROM (VALUES {listed}) AS t(id, label)")  # noqa: S608  (names of the test's own)


def lines(world: "DagsterWorld", columns: str, where: str = "TRUE") -> list[tuple[Any, ...]]:
    """Return columns of the table of the trial, in its order."""
    return world.read(f"SELECT {columns} FROM public.answers_trials WHERE {where}")  # noqa: S608  (SQL of the test's own)


def logged(world: "DagsterWorld", result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the run log."""
    return [entry.user_message for entry in world.instance.all_logs(result.run_id)]


def outcome(result: dg.ExecuteInProcessResult) -> str:
    """Return what a trial has said."""
    [materialized] = result.get_asset_materialization_events()
    return str(materialized.materialization.metadata["claude_batch/outcome"].value)


def billed_usd(emulator: Emulator) -> float:
    """Return what the emulator has billed, at batch prices."""
    usd = 0.0
    for model, tokens in emulator.audit.bill().items():
        price = cost(model, Usage(input_tokens=tokens.input, output_tokens=tokens.output))
        assert price is not None
        usd += price.batch_usd
    return usd


@pytest.fixture
def gold_asset(classification: Declare) -> dg.AssetsDefinition:
    """Return the asset that is tried out: it asks Haiku."""
    return classification(partitions_def=None, gold="labelled")


def test_the_cheapest_that_is_right_often_enough_is_named(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """Haiku is right too seldom, Opus is dearer than need be. Nothing is asked but gold rows, and the bill is told."""
    before = billed_usd(emulator)

    result = trying.run(build_trials_asset(gold_asset, models=[HAIKU, SONNET, OPUS]))

    assert len(trying.sent) == 3 * N
    assert lines(trying, "candidate, gold_rows, answers, right_answers, passes, named, on_frontier, is_current") == [
        (HAIKU, N, N, 96, False, False, True, True),
        (SONNET, N, N, 151, True, True, True, False),
        (OPUS, N, N, 156, True, False, True, False),
    ]
    assert sum(usd for (usd,) in lines(trying, "cost_usd")) == pytest.approx(billed_usd(emulator) - before)
    assert lines(trying, "round(cost_per_1000_usd * gold_rows / 1000 - cost_usd, 9)") == [(0.0,)] * 3
    [(low, share, high, at_least, run_id)] = lines(
        trying, "accuracy_low, accuracy, accuracy_high, at_least, run_id", "named"
    )
    assert low <= at_least < share < high
    assert (share, run_id) == (151 / N, result.run_id)
    told = outcome(result)
    assert f"{SONNET} is the cheapest of which 160 gold rows show that it is right in more than 85 %" in told
    assert f"{SONNET} is right more often than {HAIKU} on the same gold rows" in told
    assert f"the gold rows do not tell {SONNET} from {OPUS}" in told
    assert "the emulator has answered, not Claude" in told


def test_the_plan_of_all_candidates_is_told_before_anything_is_sent(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """In the log, and as an observation; a dry run does nothing else, and ends well."""
    trials = build_trials_asset(gold_asset, models=[HAIKU, SONNET])

    result = trying.run(trials, config={"dry_run": True})

    assert result.success
    assert trying.n_posts == 0
    assert trying.read("SELECT table_name FROM duckdb_tables() ORDER BY ALL") == [("documents",), ("labelled",)]
    [plan] = [entry for entry in logged(trying, result) if "DRY RUN: nothing is sent" in entry]
    assert "Plan: 2 candidates, 320 requests, about $" in plan
    assert f"{SONNET}: 160 requests, about $" in plan
    [observed] = result.get_asset_observation_events()
    metadata = observed.asset_observation_data.asset_observation.metadata
    assert metadata["claude_batch/planned_requests"].value == 2 * N
    assert result.get_asset_materialization_events() == []

    told = logged(trying, trying.run(trials))
    first = next(n for n, entry in enumerate(told) if "Plan: 2 candidates" in entry)
    assert not any("requests sent" in entry for entry in told[:first])


def test_what_a_trial_has_answered_the_table_need_not_ask(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """The gold rows of the definition that the table has are paid for once, whoever comes first."""
    trying.run(build_trials_asset(gold_asset, models=[HAIKU, SONNET]))
    assert len(trying.sent) == 2 * N

    trying.run(gold_asset)

    assert len(trying.sent) == 2 * N + OTHERS
    assert trying.statuses() == {"succeeded": N + OTHERS}
    assert trying.paid_twice == []


def test_what_the_table_has_answered_a_trial_need_not_ask(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """The candidate that the asset is costs nothing then, and it is told what it did cost; again, nothing is sent."""
    trying.run(gold_asset)
    trials = build_trials_asset(gold_asset, models=[SONNET])

    result = trying.run(trials)

    assert len(trying.sent) == N + OTHERS + N
    assert any(f"{HAIKU}: nothing to send" in entry for entry in logged(trying, result))
    [(usd, own_usd)] = trying.read(
        "SELECT cost_per_1000_usd, (SELECT 1000 * avg(cost_usd) FROM public.answers SEMI JOIN public.labelled "
        "USING (id)) FROM public.answers_trials WHERE is_current"
    )
    assert usd == pytest.approx(own_usd)
    assert trying.run(trials).success
    assert len(trying.sent) == N + OTHERS + N


def test_a_trial_that_dies_is_taken_up(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """All candidates are in flight when the run ends; the next one collects what was sent, and pays for nothing."""
    trials = build_trials_asset(gold_asset, models=[HAIKU, SONNET])
    emulator.faults.add("401", endpoint="retrieve")

    result = trying.run(trials, raises=False)

    assert not result.success
    assert trying.n_posts == 2
    assert "answers_trials" not in {name for (name,) in trying.read("SELECT table_name FROM duckdb_tables()")}
    emulator.faults.clear()
    assert trying.run(trials).success
    assert trying.n_posts == 2
    assert lines(trying, "candidate, answers") == [(HAIKU, N), (SONNET, N)]


@pytest.mark.verify
def test_a_table_with_rows_on_their_way_is_waited_for(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """Tables do not see what others have on their way, so gold rows could be paid for twice: nothing is sent."""
    emulator.faults.add("401", endpoint="retrieve")
    trying.run(gold_asset, raises=False)
    emulator.faults.clear()
    trials = build_trials_asset(gold_asset, models=[SONNET])

    with pytest.raises(ConfigurationError, match="has 180 requests on their way that ask what the candidate"):
        trying.run(trials)

    assert trying.n_posts == 1
    trying.run(gold_asset)
    assert trying.run(trials).success
    assert trying.paid_twice == []


def test_candidates_share_a_budget_and_are_not_judged_beyond_it(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """Twenty cents pay for Haiku; what Sonnet can cost at most is more, so its rows are blocked, and that is said."""
    trials = build_trials_asset(gold_asset, models=[HAIKU, SONNET], budget=Budget(usd=0.2, per="run"))

    result = trying.run(trials)

    [haiku, sonnet] = lines(trying, "candidate, answers, passes, note")
    assert haiku == (HAIKU, N, False, None)
    assert sonnet[:3] == (SONNET, None, None)
    assert "not sent, for the budget 'public.answers_trials' of $0.20 per run does not allow it" in str(sonnet[3])
    assert f"{SONNET} is not judged: " in outcome(result)
    assert "none can be named" in outcome(result)


def test_prompts_are_compared_on_one_half_and_told_of_by_the_other(
    trying: "DagsterWorld", classification: Declare
) -> None:
    """Which half a gold row is of, its key says. What is written down is of the first, and of the named one of both."""
    asset = classification(partitions_def=None, gold="labelled", model=SONNET)

    result = trying.run(build_trials_asset(asset, prompts={"short": "{text}"}))

    n_chosen = sum(is_chosen_by(f'["d{n:03}"]') for n in range(N))
    assert N / 3 < n_chosen < 2 * N / 3
    rows = lines(trying, "candidate, prompt, gold_rows, held_out_rows, named")
    assert sorted(rows) == [
        (SONNET, "current", n_chosen, None, False),
        (f"{SONNET}, prompt short", "short", n_chosen, N - n_chosen, True),
    ]
    right = sum(truth(n) == answered(n, 95) for n in range(N) if not is_chosen_by(f'["d{n:03}"]'))
    assert lines(trying, "held_out_accuracy", "named") == [(right / (N - n_chosen),)]
    assert "prompts were compared on one half of the gold rows only" in outcome(result)
    assert f"on the other half, {N - n_chosen} gold rows that had no part in the choice, it is right in" in outcome(
        result
    )
    assert "the cheapest of which" in outcome(result)


@pytest.mark.verify
def test_with_few_gold_rows_none_is_named(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """How many more would decide is said."""
    write_gold(trying, range(20))

    result = trying.run(build_trials_asset(gold_asset, models=[HAIKU, SONNET]))

    assert "none can be named with 20 gold rows; about" in outcome(result)
    assert f"more gold rows would decide on {SONNET}" in outcome(result)
    assert lines(trying, "more_rows > 20", "NOT is_current") == [(True,)]
    assert lines(trying, "count(*) FILTER (named)") == [(0,)]


def test_a_candidate_that_fails_to_answer_is_wrong(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """Invalid answers were paid for, twice each, and count as wrong; so nobody is named for what it does not answer."""
    emulator.answers.add(lambda text: number_in(text) < 50, "no JSON", model=SONNET)

    trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    [(answers, right, passes, usd)] = lines(trying, "answers, right_answers, passes, cost_usd", "NOT is_current")
    assert (answers, passes) == (N - 50, False)
    assert right == sum(truth(n) == answered(n, 95) for n in range(50, N))
    assert usd == pytest.approx(sum(usd for model, usd in trying.read(SPENT) if model == SONNET))


def test_no_gold_value_is_ever_sent(trying: "DagsterWorld", classification: Declare, emulator: Emulator) -> None:
    """Nor any column of the gold rows: neither in a template nor in the row that a function is given."""
    trying.write(
        "CREATE OR REPLACE TABLE public.labelled AS SELECT id, 'goldfinch ' || label AS label, 'goldfinch' AS text, "
        "'goldfinch' AS note FROM public.labelled"
    )
    rows: list[Mapping[str, Any]] = []

    def seen(row: Mapping[str, Any]) -> str:
        rows.append(row)
        return str(row["text"])

    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{text}", Answer), gold="labelled")

    trying.run(build_trials_asset(asset, prompts={"seen": seen}))

    assert {frozenset(row) for row in rows} == {frozenset({"id", "text", "published_on"})}
    bodies = [orjson.dumps(params).decode() for params in emulator.audit.asked()]
    assert len(trying.sent) == 2 * N
    assert sum("number " in body for body in bodies) >= 2 * N, "these are the bodies"
    assert not any("goldfinch" in body for body in bodies)


@pytest.mark.verify
def test_what_two_prompt_functions_make_alike_is_paid_for_once(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """One of them shortens long documents, and the others are the same to both: the second waits for the first."""

    def whole(row: Mapping[str, Any]) -> str:
        return str(row["text"])

    def shortened(row: Mapping[str, Any]) -> str:
        return str(row["text"]).replace("1, a document", "1, a doc")

    trying.run(build_trials_asset(gold_asset, prompts={"whole": whole, "shortened": shortened}))

    assert len(trying.sent) == 2 * N + N // 10
    assert trying.paid_twice == []


@pytest.mark.verify
def test_equal_documents_cost_as_much_as_others(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """They are asked once, so the bill is smaller; a row of the table costs what its answer does all the same."""
    trying.write("UPDATE public.documents SET text = 'number 3, a document' WHERE id < 'd080'")

    trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    assert len(trying.sent) == 2 * (1 + N // 2)
    [(usd, per_row)] = lines(trying, "cost_usd, cost_per_1000_usd / 1000", "is_current")
    assert usd < 0.6 * N * per_row
    assert sum(usd for (usd,) in lines(trying, "cost_usd")) == pytest.approx(sum(usd for _, usd in trying.read(SPENT)))


def test_partitions_tell_rows_apart_where_keys_do_not(trying: "DagsterWorld", classification: Declare) -> None:
    """Each year counts its documents anew. Of a year's keys those are asked that the year has gold rows of."""
    trying.write(
        "UPDATE public.documents SET id = 'd' || lpad((substr(id, 2)::INT // 2)::VARCHAR, 3, '0')",
        "CREATE OR REPLACE TABLE public.labelled AS SELECT 'd' || lpad((substr(id, 2)::INT // 2)::VARCHAR, 3, '0') AS "
        "id, (1790 + substr(id, 2)::INT % 2)::VARCHAR AS partition_key, label FROM public.labelled "
        "WHERE substr(id, 2)::INT % 2 = 0 OR id < 'd040'",
        "INSERT INTO public.labelled VALUES ('d000', '2525', 'war'), ('d000', '1793', 'war')",
    )
    asset = classification(gold="labelled")

    result = trying.run(build_trials_asset(asset, models=[SONNET]))

    n = N // 2 + 20
    assert len(trying.sent) == 2 * n
    assert lines(trying, "gold_rows, answers, right_answers", "is_current") == [
        (n, n, sum(truth(one) == answered(one, 60) for one in [*range(0, N, 2), *range(1, 40, 2)]))
    ]
    assert "2 gold rows are not upstream, and not counted" in outcome(result)
    trying.run(asset, span=("1790", "1793"))
    assert len(trying.sent) == 2 * n + N + OTHERS - n
    assert trying.paid_twice == []


@pytest.mark.verify
def test_partitions_need_not_be_named_where_keys_tell_rows_apart(
    trying: "DagsterWorld", classification: Declare
) -> None:
    """Then the gold rows need no more than keys, as for the checks."""
    trying.run(build_trials_asset(classification(gold="labelled"), models=[SONNET]))

    assert lines(trying, "gold_rows, answers") == [(N, N)] * 2


def test_several_fields_have_a_row_each_and_all_of_them_have_to_pass(
    trying: "DagsterWorld", emulator: Emulator
) -> None:
    """Sonnet is right in the label, and in the tone it guesses: so it is not named."""
    emulator.answers.add(lambda _: True, {"tone": "calm"})
    teach_two(emulator)
    write_gold(trying, range(N), ", CASE WHEN id < 'd120' THEN 'calm' ELSE 'angry' END AS tone")
    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{text}", Two), gold="labelled")

    result = trying.run(build_trials_asset(asset, models=[SONNET, OPUS]))

    assert lines(trying, "candidate, field, passes, named", "NOT is_current") == [
        (SONNET, "label", True, False),
        (SONNET, "tone", False, False),
        (OPUS, "label", True, True),
        (OPUS, "tone", True, True),
    ]
    assert f"{OPUS} is the cheapest of which 160 gold rows show" in outcome(result)
    assert f"label: {SONNET} is right more often than {HAIKU}" in outcome(result)


def teach_two(emulator: Emulator) -> None:
    """Let models answer two fields: a model that is not Opus takes every document for calm."""
    for model, percent in SKILLS.items():
        for label in NAMES:
            for tone in ("calm", "angry"):

                def fits(
                    text: str, percent: int = percent, label: str = label, tone: str = tone, model: str = model
                ) -> bool:
                    n = number_in(text)
                    heard = "angry" if n >= 120 and model == OPUS else "calm"
                    return answered(n, percent) == label and heard == tone

                emulator.answers.add(fits, {"label": label, "tone": tone}, model=model)


@pytest.mark.verify
def test_gold_rows_that_tell_nothing_stop_the_trial(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """Before anything is sent, with what to do."""
    trials = build_trials_asset(gold_asset, models=[SONNET])
    trying.write("UPDATE public.labelled SET id = 'x' || id")
    with pytest.raises(GoldError, match=r"none is among the rows of the upstream table public\.documents"):
        trying.run(trials)

    trying.write("DROP TABLE public.labelled")
    with pytest.raises(GoldError, match=r"the gold rows, table public.labelled, cannot be read"):
        trying.run(trials)

    assert trying.n_posts == 0


@pytest.mark.verify
def test_rows_that_nobody_can_be_asked_about_do_not_count(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """A key that two documents have, and one without a document: of no candidate do they tell anything."""
    trying.write(
        "INSERT INTO public.documents VALUES ('d000', 'number 7, a document', '1790-01-01')",
        "UPDATE public.documents SET text = NULL WHERE id = 'd001'",
    )

    result = trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    assert lines(trying, "gold_rows, answers") == [(N - 2, N - 2)] * 2
    assert "2 gold rows can be asked of no candidate" in outcome(result)


@pytest.mark.verify
def test_all_that_were_ever_tried_count(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """Who tries one model after the other until one passes is held to as much as who tries all of them at once."""
    trying.run(build_trials_asset(gold_asset, models=[SONNET, OPUS]))
    [(among_three,)] = lines(trying, "at_least", f"model = '{OPUS}'")

    trying.run(build_trials_asset(gold_asset, models=[OPUS]))

    assert lines(trying, "at_least", f"model = '{OPUS}'") == [(among_three,)]


def test_candidates_are_named_by_what_they_differ_in(classification: Declare) -> None:
    """And what the asset has is among them, wherever it stands."""
    asset = classification(gold="labelled", effort="low")

    def names(**options: Any) -> list[str]:
        found = trials_of(build_trials_asset(asset, **options))
        assert found is not None
        return [candidate.name for candidate in found.trials.candidates]

    assert names(models=[HAIKU, SONNET]) == [HAIKU, SONNET]
    assert names(models=[SONNET]) == [HAIKU, SONNET]
    assert names(prompts={"short": "{text}"}) == [HAIKU, f"{HAIKU}, prompt short"]
    assert names(efforts=["low", "high"]) == [f"{HAIKU}, effort low", f"{HAIKU}, effort high"]
    assert names(models=[SONNET], prompts={"short": "{text}"}, efforts=["high"]) == [
        f"{HAIKU}, effort low",
        f"{SONNET}, effort high",
        f"{SONNET}, prompt short, effort high",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "a trial needs something to try beside what the asset has"),
        ({"models": "claude-sonnet-5-5"}, r"models takes a list, .* Write \['claude-sonnet-5-5'\]"),
        ({"efforts": ["some"]}, "effort is one of low, medium"),
        ({"prompts": {"current": "{text}"}}, "give the other prompt another name"),
        ({"prompts": {"one": "{text}", "two": "{text}"}}, "prompt one and .*, prompt two ask the same"),
        ({"prompts": {"none": "what is it?"}}, "the prompt names no column"),
        ({"prompts": {"leak": "{text} is {label}"}}, "called as output fields are: label"),
        ({"models": [SONNET], "bar": 85}, "between 0 and 1; got 85"),
    ],
)
def test_what_cannot_be_tried(classification: Declare, options: dict[str, Any], told: str) -> None:
    """It is refused where it is written."""
    with pytest.raises(ConfigurationError, match=told):
        build_trials_asset(classification(gold="labelled"), **options)


def test_what_cannot_be_tried_out(classification: Declare) -> None:
    """An asset without gold rows, one whose rows an IO manager hands over, and what is none of ours."""
    with pytest.raises(ConfigurationError, match=r"answers has no gold rows, .* Name them: gold='labelled_tickets'"):
        build_trials_asset(classification(), models=[SONNET])
    with pytest.raises(ConfigurationError, match="name the upstream asset itself in place of an AssetIn"):
        build_trials_asset(classification(upstream=dg.AssetIn("documents"), gold="labelled"), models=[SONNET])
    with pytest.raises(ConfigurationError, match="is not what build_batch_asset or build_classification_asset"):
        build_trials_asset(build_trials_asset(classification(gold="labelled"), models=[SONNET]), models=[OPUS])


def test_a_trial_stands_behind_its_asset(classification: Declare) -> None:
    """So that in a run of both the asset goes first; it has no partitions, and no input."""
    asset = classification(gold="labelled", key_prefix="silver", group_name="support", schema="labels")
    trials = build_trials_asset(asset, models=[SONNET])

    [spec] = trials.specs
    assert spec.key == dg.AssetKey(["silver", "answers_trials"])
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"silver/answers", "documents", "labelled"}
    assert (spec.partitions_def, spec.group_name) == (None, "support")
    assert spec.metadata["dagster/table_name"] == "labels.answers_trials"
    upstream = [dg.AssetSpec("documents"), dg.AssetSpec("labelled")]
    resources = {"claude_batch": dg.ResourceDefinition.none_resource()}
    dg.Definitions.validate_loadable(dg.Definitions([asset, trials, *upstream], resources=resources))
