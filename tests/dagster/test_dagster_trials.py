"""Trials: which candidate is the cheapest that is right often enough, found out on gold rows and no others."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster import Ask, Budget, build_batch_asset, build_trials_asset
from claude_batch_dagster.assets.trials import trials_of
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.trial_judging import is_chosen_by
from tests.dagster.trying import (
    HAIKU,
    NAMES,
    OPUS,
    OTHERS,
    SKILLS,
    SONNET,
    SPENT,
    N,
    answered,
    billed_usd,
    lines,
    logged,
    n_right,
    number_in,
    outcome,
    taught,
    write_gold,
)

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


class Two(BaseModel):
    """Two labels, one of them about something else."""

    label: Literal["economy", "war", "other"]
    tone: Literal["calm", "angry"]


@pytest.fixture
def trying(world: "DagsterWorld", emulator: Emulator) -> Iterator["DagsterWorld"]:
    """Return a world with documents, gold rows of most of them, and models of unlike skill."""
    with taught(world, emulator):
        yield world


@pytest.fixture
def gold_asset(classification: Declare) -> dg.AssetsDefinition:
    """Return the asset that is tried out: it asks Haiku."""
    return classification(partitions_def=None, gold="labelled")


def test_the_cheapest_that_is_right_often_enough_is_named(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """Haiku is right too seldom, Opus is dearer than need be. Nothing is asked but gold rows, and the bill is told."""
    before = [batch.id for batch in emulator.audit.accepted()]

    result = trying.run(build_trials_asset(gold_asset, models=[HAIKU, SONNET, OPUS]))

    assert len(trying.sent) == 3 * N
    assert lines(trying, "candidate, gold_rows, answers, right_answers, passes, named, on_frontier, is_current") == [
        (HAIKU, N, N, 96, False, False, True, True),
        (SONNET, N, N, 151, True, True, True, False),
        (OPUS, N, N, 156, True, False, True, False),
    ]
    assert sum(usd for (usd,) in lines(trying, "cost_usd")) == pytest.approx(billed_usd(emulator, without=before))
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


@pytest.mark.verify
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


@pytest.mark.verify
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
def test_a_trial_that_is_stopped_is_taken_up(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """One candidate is in flight when the run is interrupted, another not sent yet: each row is paid for once."""
    patience = iter([False, True])

    def interrupted(row: Mapping[str, Any]) -> str:
        if trying.n_posts and not next(patience, True):
            raise KeyboardInterrupt
        return f"About:\n{row['text']}"

    trials = build_trials_asset(gold_asset, prompts={"interrupted": interrupted})

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        trying.run(trials)

    assert trying.n_posts == 1
    [run] = trying.instance.get_runs(limit=1)
    said = [entry.user_message for entry in trying.instance.all_logs(run.run_id)]
    assert said.count("Stopped while waiting. The batches go on; the next run lands their answers.") == 1
    assert trying.run(trials).success
    assert len(trying.sent) == 2 * N
    assert trying.paid_twice == []


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


@pytest.mark.verify
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


@pytest.mark.verify
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
    right = n_right([n for n in range(N) if not is_chosen_by(f'["d{n:03}"]')], SONNET)
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


@pytest.mark.verify
def test_a_candidate_that_fails_to_answer_is_wrong(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition, emulator: Emulator
) -> None:
    """Invalid answers were paid for, twice each, and count as wrong; so nobody is named for what it does not answer."""
    emulator.answers.add(lambda text: number_in(text) < 50, "no JSON", model=SONNET)

    result = trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    assert f"{SONNET} has no usable answer to 50 gold rows, which count as wrong" in outcome(result)
    [(answers, right, passes, usd)] = lines(trying, "answers, right_answers, passes, cost_usd", "NOT is_current")
    assert (answers, passes) == (N - 50, False)
    assert right == n_right(range(50, N), SONNET)
    assert usd == pytest.approx(sum(usd for model, usd in trying.read(SPENT) if model == SONNET))


@pytest.mark.verify
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
def test_all_that_were_ever_tried_count(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """Who tries one model after the other until one passes is held to as much as who tries all of them at once."""
    trying.run(build_trials_asset(gold_asset, models=[SONNET, OPUS]))
    [(among_three,)] = lines(trying, "at_least", f"model = '{OPUS}'")

    trying.run(build_trials_asset(gold_asset, models=[OPUS]))

    assert lines(trying, "at_least", f"model = '{OPUS}'") == [(among_three,)]
    n_sent = len(trying.sent)
    trying.write("DROP SCHEMA claude_batch_trials CASCADE")  # new gold rows were drawn, say
    trying.run(build_trials_asset(gold_asset, models=[OPUS]))
    [(among_two,)] = lines(trying, "at_least", f"model = '{OPUS}'")
    assert among_two > among_three
    assert len(trying.sent) == n_sent


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


@pytest.mark.verify
def test_a_candidate_without_a_listed_price_is_not_judged(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """Nobody could say whether it is the cheapest. What the others are is said all the same."""
    result = trying.run(build_trials_asset(gold_asset, models=["claude-mythos-5-1", OPUS]))

    assert lines(trying, "candidate, passes, named, cost_usd IS NULL") == [
        (HAIKU, False, False, False),
        (OPUS, True, True, False),
        ("claude-mythos-5-1", None, False, True),
    ]
    assert "claude-mythos-5-1 is not judged: the price of its model is not listed" in outcome(result)
