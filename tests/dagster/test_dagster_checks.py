from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster.checks import (
    Check,
    Complete,
    ErrorRate,
    ExpiryRate,
    InvalidRate,
    LabelDrift,
    PaidOnce,
    Retention,
)
from claude_batch_dagster.checks.usual import Has, checks_of
from claude_batch_dagster.core.reporting.double_payments import Doubts
from claude_batch_dagster.core.reporting.report import PartitionReport, Standing
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.checks import results

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]
NAMES = ["error_rate", "expiry_rate", "complete"]
WHOLE = {("invalid_rate", None), ("label_drift", None), ("paid_once", None), ("retention", None)}
"""Checks of the table: one evaluation for each run."""
ALL = ("1790", "1793")


def report(
    verdicts: Mapping[str, int], *, partition_key: str | None = None, n_expected: int | None = None
) -> PartitionReport:
    """Return the report of a partition with these verdicts."""
    return PartitionReport(
        partition_key=partition_key,
        n_expected=sum(verdicts.values()) if n_expected is None else n_expected,
        n_asked=0,
        n_shared=0,
        standing=Standing(verdicts=Counter(verdicts)),
        cost_usd=0.0,
        live_cost_usd=0.0,
        run_cost_usd=0.0,
        seconds_to_answer=None,
    )


DEFAULTS = checks_of([], Has(labels=True))


def verdicts(*reports: PartitionReport, by: Sequence[Check] = DEFAULTS) -> dict[str, str]:
    """Return what each check says of these partitions."""
    judged = results(dg.AssetKey("answers"), by, reports)
    return {str(one.check_name): "pass" if one.passed else one.severity.value.lower() for one in judged}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"succeeded": 98, "errored": 2}, ("pass", "pass", "pass")),
        ({"succeeded": 97, "refused": 3}, ("warn", "pass", "pass")),
        ({"succeeded": 90, "invalid": 5, "truncated": 5}, ("warn", "pass", "warn")),
        ({"succeeded": 89, "missing": 6, "rejected": 5}, ("error", "pass", "warn")),
        ({"succeeded": 99, "expired": 1}, ("pass", "pass", "pass")),
        ({"succeeded": 98, "expired": 2}, ("pass", "warn", "pass")),
        ({"succeeded": 94, "expired": 6}, ("pass", "error", "warn")),
        ({"succeeded": 95, "canceled": 5}, ("pass", "pass", "pass")),
        ({"succeeded": 80, "canceled": 20}, ("pass", "pass", "warn")),
        ({"succeeded": 79, "blocked": 21}, ("pass", "pass", "error")),
        ({}, ("pass", "pass", "pass")),
    ],
)
def test_a_threshold_is_the_last_value_that_passes(counts: dict[str, int], expected: tuple[str, ...]) -> None:
    """Each check passes at its threshold, warns beyond the first, and fails beyond the second."""
    told = verdicts(report(counts))
    assert (told["error_rate"], told["expiry_rate"], told["complete"]) == expected
    assert (told["paid_once"], told["retention"]) == ("pass", "pass")


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "pass"), (20, "pass"), (20.1, "warn"), (27, "warn"), (27.1, "error"), (40, "error")]
)
def test_f66_results_that_nobody_fetches_warn_well_before_they_are_gone(days: float, expected: str) -> None:
    """The API keeps results for 29 days; the check warns from the 20th and fails from the 27th."""
    assert verdicts(replace(report({"succeeded": 1}), oldest_open_days=days))["retention"] == expected


def test_f34_a_batch_that_may_have_been_paid_for_twice_warns_and_says_at_most_how_much() -> None:
    """It never fails: nobody can mend it, and everybody should know it."""
    doubts = Doubts(n_unconfirmed=1, n_possible_duplicates=7, possible_duplicate_usd=0.25)
    check = PaidOnce()

    judgement = check.judge(replace(report({"succeeded": 9}), table_doubts=doubts))

    assert judgement.level == "warn"
    assert judgement.metadata["claude_batch/possible_duplicate_usd"] == 0.25
    assert judgement.metadata["claude_batch/possible_duplicate_requests"] == 7


@pytest.mark.parametrize(("n_rows", "n_expected"), [(99, 100), (101, 100), (0, 1), (1, 0)])
def test_f103_books_that_do_not_balance_fail_complete(n_rows: int, n_expected: int) -> None:
    """A row without a verdict, or one too many, fails `complete`, however good the others are."""
    assert verdicts(report({"succeeded": n_rows}, n_expected=n_expected))["complete"] == "error"


def test_a_range_is_as_good_as_its_worst_partition() -> None:
    """The result for a run of several partitions is that of the worst, and says which and how many."""
    reports = [
        report({"succeeded": 10}, partition_key="1790"),
        report({"succeeded": 9, "errored": 1}, partition_key="1791"),
        report({"errored": 1}, partition_key="1792"),
    ]

    judged = {
        str(one.check_name): one
        for one in results(
            dg.AssetKey("answers"),
            checks_of([ErrorRate(warn=0.1, fail=0.5), Complete(warn=0.95, fail=0.5)], Has(labels=True)),
            reports,
        )
    }

    assert judged["error_rate"].description == "1 of 3 partitions does not pass; the worst is 1792"
    assert judged["complete"].description == "2 of 3 partitions do not pass; the worst is 1792"
    assert judged["expiry_rate"].description == "all 3 partitions pass"
    assert judged["error_rate"].metadata["claude_batch/error_rate"].value == 1.0


SHARES = [ErrorRate, ExpiryRate, Complete, InvalidRate, LabelDrift]


def test_a_partition_whose_books_do_not_balance_is_the_worst() -> None:
    """Whatever share of its rows is answered."""
    reports = [
        report({"succeeded": 9, "errored": 1}, partition_key="1790"),
        report({"succeeded": 99}, n_expected=100, partition_key="1791"),
    ]

    [complete] = results(dg.AssetKey("answers"), [Complete()], reports)

    assert complete.description == "2 of 2 partitions do not pass; the worst is 1791"
    assert complete.severity is dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize(("warn", "fail"), [(-0.1, 0.5), (0.1, 1.5), (2, 0.5), (float("nan"), 0.5)])
def test_thresholds_of_shares_are_shares(kind: Callable[..., Check], warn: float, fail: float) -> None:
    """A threshold beyond 0 and 1 is a mistake, such as a percentage or a number of days."""
    with pytest.raises(ConfigurationError, match=r"measures a share: thresholds are between 0 and 1; got warn="):
        kind(warn=warn, fail=fail)


@pytest.mark.parametrize(
    ("kind", "warn", "fail", "match"),
    [
        (ErrorRate, 0.2, 0.1, "error_rate would fail before it warns: warn must not be above fail"),
        (ExpiryRate, 0.2, 0.1, "expiry_rate would fail before it warns: warn must not be above fail"),
        (Complete, 0.1, 0.2, "complete would fail before it warns: warn must not be below fail"),
        (InvalidRate, 0.2, 0.1, "invalid_rate would fail before it warns: warn must not be above fail"),
        (LabelDrift, 0.2, 0.1, "label_drift would fail before it warns: warn must not be above fail"),
        (PaidOnce, 2, 1, "paid_once would fail before it warns: warn must not be above fail"),
        (Retention, 20, 10, "retention would fail before it warns: warn must not be above fail"),
    ],
)
def test_thresholds_warn_before_they_fail(kind: Callable[..., Check], warn: float, fail: float, match: str) -> None:
    """Thresholds in the wrong order are refused where they are written."""
    with pytest.raises(ConfigurationError, match=match):
        kind(warn=warn, fail=fail)


@pytest.mark.parametrize("kind", [PaidOnce, Retention])
@pytest.mark.parametrize(("warn", "fail"), [(-1, 5), (1, -5), (float("nan"), 5), (1, float("nan")), (float("inf"), 5)])
def test_thresholds_of_numbers_begin_at_zero(kind: Callable[..., Check], warn: float, fail: float) -> None:
    """They are counts or days, and a check that never warns is no check."""
    with pytest.raises(ConfigurationError, match="measures a number: thresholds are from 0 on; got warn="):
        kind(warn=warn, fail=fail)


def test_a_warning_that_comes_when_the_results_are_gone_is_refused() -> None:
    """The API keeps them for 29 days."""
    with pytest.raises(ConfigurationError, match="retention would warn too late: the API keeps results for 29 days"):
        Retention(warn=29, fail=40)


@pytest.mark.parametrize("given", ["error_rate", ErrorRate, dg.AssetCheckSpec("error_rate", asset="answers"), None])
def test_what_is_no_check_is_refused(classification: Declare, given: Any) -> None:
    """A name, a class or one of Dagster's specs would say no thresholds."""
    with pytest.raises(ConfigurationError, match=r"checks= takes instances of ErrorRate, .* such as ErrorRate\(warn="):
        classification(checks=[given])


def test_thresholds_are_numbers_in_a_list(classification: Declare) -> None:
    """A text, or a check alone, is told what to write."""
    anything: Any = ErrorRate
    with pytest.raises(ConfigurationError, match=r"error_rate takes numbers as thresholds; got '0\.1'"):
        anything(warn="0.1")
    with pytest.raises(ConfigurationError, match=r"checks= takes a list: \[ErrorRate\(\.\.\.\)\]"):
        classification(checks=ErrorRate())


def test_a_check_is_named_once(classification: Declare) -> None:
    """Of two thresholds one would be lost without a word."""
    with pytest.raises(ConfigurationError, match="checks= names ErrorRate twice"):
        classification(checks=[ErrorRate(warn=0.1, fail=0.2), Complete(), ErrorRate(warn=0.0)])


@pytest.mark.parametrize(
    ("days", "expected"), [(5, "pass"), (5.1, "warn"), (10, "warn"), (10.1, "error"), (28, "error")]
)
def test_f66_how_long_results_may_lie_is_the_users_to_say(days: float, expected: str) -> None:
    """The check on retention warns and fails after as many days as it was told."""
    one = replace(report({"succeeded": 1}), oldest_open_days=days)

    assert verdicts(one, by=[Retention(warn=5, fail=10)])["retention"] == expected


@pytest.mark.parametrize(("n", "expected"), [(3, "pass"), (4, "warn"), (9, "warn"), (10, "error")])
def test_f34_how_many_may_be_paid_for_twice_is_the_users_to_say(n: int, expected: str) -> None:
    """The check on double payment warns and fails beyond as many requests as it was told; without `fail` it warns."""
    one = replace(report({"succeeded": 9}), table_doubts=Doubts(n_unconfirmed=1, n_possible_duplicates=n))

    assert verdicts(one, by=[PaidOnce(warn=3, fail=9)])["paid_once"] == expected
    assert verdicts(one, by=[PaidOnce(warn=3)])["paid_once"] != "error"


@pytest.mark.verify
def test_thresholds_of_the_money_are_set_where_the_asset_is_declared(
    world: "DagsterWorld", classification: Declare
) -> None:
    """A run records the thresholds that it was given, and the check says in the UI when it warns."""
    asset = classification(partitions_def=None, checks=[PaidOnce(warn=2, fail=7), Retention(warn=3, fail=9)])

    found = recorded(world, world.run(asset))

    told = {
        name: [found[name, None].metadata[f"claude_batch/{level}_threshold"].value for level in ("warn", "fail")]
        for name in ("paid_once", "retention")
    }
    assert told == {"paid_once": [2, 7], "retention": [3, 9]}
    assert (
        "not collected for 3 days" in {check.name: str(check.description) for check in asset.check_specs}["retention"]
    )


def labeled(own: Mapping[str, int], elsewhere: Mapping[str, int]) -> PartitionReport:
    """Return the report of a partition with these labels, beside those of the other partitions."""
    standing = Standing(labels=Counter(own), labels_elsewhere=Counter(elsewhere))
    return replace(report({"succeeded": sum(own.values())}), standing=standing)


@pytest.mark.parametrize(
    ("own", "elsewhere", "drift"),
    [
        ({"war": 50, "peace": 50}, {"war": 500, "peace": 500}, 0.0),
        ({"war": 75, "peace": 25}, {"war": 500, "peace": 500}, 0.25),
        ({"war": 100}, {"peace": 100}, 1.0),
        ({"war": 60, "trade": 40}, {"war": 60, "peace": 40}, 0.4),
        ({"war": 29}, {"peace": 1_000}, 0.0),
        ({"war": 1_000}, {"peace": 29}, 0.0),
        ({}, {}, 0.0),
    ],
)
def test_drift_is_the_share_of_labels_that_would_have_to_be_others(
    own: Mapping[str, int], elsewhere: Mapping[str, int], drift: float
) -> None:
    """From 0, the same shares, to 1, nothing in common; a handful of labels says nothing."""
    one = labeled(own, elsewhere)

    assert one.label_drift == pytest.approx(drift)
    assert verdicts(one)["label_drift"] == ("warn" if drift > 0.4 else "pass")


def test_invalid_answers_have_a_rate_of_their_own() -> None:
    """They point at the prompt or the model rather than at the service."""
    told = verdicts(report({"succeeded": 85, "invalid": 15}))

    assert (told["invalid_rate"], told["error_rate"]) == ("error", "error")
    assert verdicts(report({"succeeded": 85, "errored": 15}))["invalid_rate"] == "pass"


def test_an_answer_without_labels_has_no_drift(asking: Declare) -> None:
    """Where no field has a closed list of values there is nothing to count."""

    class Summary(BaseModel):
        """What is made of a document."""

        text: str

    assert "label_drift" not in {check.name for check in asking(output=Summary).check_specs}
    with pytest.raises(ConfigurationError, match="checks= names LabelDrift, but the output has no field with a closed"):
        asking(output=Summary, checks=[LabelDrift()])


def test_thresholds_are_shown_beside_the_check(classification: Declare) -> None:
    """Before anything has run: where it warns and fails, and whether it blocks."""
    checks = [ErrorRate(warn=0.01, fail=0.03, blocking=True), Complete(warn=1.0, fail=0.99)]
    told = {spec.name: str(spec.description) for spec in classification(checks=checks).check_specs}

    assert told["error_rate"].endswith("Warns above 0.01, fails above 0.03, and then blocks.")
    assert told["complete"].endswith("Warns below 1, fails below 0.99.")
    assert told["paid_once"].endswith("Warns above 0.")


def test_which_checks_block_is_said_by_each(classification: Declare) -> None:
    """None does unless it is told to, with its own thresholds or others."""
    specs = {spec.name: spec.blocking for spec in classification(checks=[Complete(blocking=True)]).check_specs}

    assert [name for name, blocking in specs.items() if blocking] == ["complete"]
    assert len(specs) == 7


# --- in runs ------------------------------------------------------------------------------------------


def recorded(
    world: "DagsterWorld", result: dg.ExecuteInProcessResult
) -> dict[tuple[str, str | None], dg.AssetCheckEvaluation]:
    """Return the evaluations in the event log of a run, by check and partition; fail if one is there twice."""
    records = world.instance.get_records_for_run(
        result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    found: dict[tuple[str, str | None], dg.AssetCheckEvaluation] = {}
    for record in records:
        event = record.event_log_entry.get_dagster_event().event_specific_data
        assert isinstance(event, dg.AssetCheckEvaluation)
        assert (event.check_name, event.partition) not in found
        found[event.check_name, event.partition] = event
    return found


@pytest.mark.verify
def test_checks_are_recorded_for_the_partition_of_a_run(world: "DagsterWorld", classification: Declare) -> None:
    """A run of one partition records each check for it, once."""
    result = world.run(classification(), partition="1791")

    assert set(recorded(world, result)) == {*((name, "1791") for name in NAMES), *WHOLE}


@pytest.mark.sampled
@pytest.mark.parametrize("span", [ALL, ("1791", "1791")], ids=["four", "one"])
def test_checks_are_recorded_for_each_partition_of_a_range(
    world: "DagsterWorld", classification: Declare, span: tuple[str, str]
) -> None:
    """A run of a range records each check for each of its partitions, and once for the whole."""
    result = world.run(classification(), span=span)

    keys = [str(year) for year in range(int(span[0]), int(span[1]) + 1)]
    assert set(recorded(world, result)) == {
        *((name, key) for name in NAMES for key in [*keys, None]),
        *WHOLE,
    }


@pytest.mark.verify
def test_checks_without_partitions_are_recorded_once(world: "DagsterWorld", classification: Declare) -> None:
    """Without partitions each check is recorded once, also in a run over a range of somebody else's."""
    asset = classification(partitions_def=None)

    all_of_them = {*((name, None) for name in NAMES), *WHOLE}
    assert set(recorded(world, world.run(asset))) == all_of_them
    assert set(recorded(world, world.run(asset, span=ALL))) == all_of_them


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("fault", "figure", "times", "severities"),
    [
        ("invalid_request", "error_rate", 1, ("warn", "pass", "warn")),
        ("invalid_request", "error_rate", 2, ("error", "pass", "error")),
        ("expired", "expiry_rate", 1, ("pass", "warn", "warn")),
        ("expired", "expiry_rate", 2, ("pass", "error", "error")),
    ],
)
def test_faults_turn_the_checks(
    world: "DagsterWorld",
    classification: Declare,
    fault: Any,
    figure: str,
    times: int,
    severities: tuple[str, ...],
) -> None:
    """Rows that fail raise the figures, and beyond the thresholds the checks warn, and then fail."""
    world.emulator.faults.add(fault, times=times)
    asset = classification(
        partitions_def=None,
        max_attempts=1,
        checks=[
            ErrorRate(warn=0.1, fail=0.3),
            ExpiryRate(warn=0.1, fail=0.3),
            Complete(warn=0.9, fail=0.7),
        ],
    )

    found = recorded(world, world.run(asset))

    told = [found[name, None] for name in NAMES[:3]]
    assert tuple("pass" if one.passed else one.severity.value.lower() for one in told) == severities
    metadata = found[figure, None].metadata
    assert metadata[f"claude_batch/{figure}"].value == times / 4
    assert (metadata["claude_batch/warn_threshold"].value, metadata["claude_batch/fail_threshold"].value) == (0.1, 0.3)
    assert found["complete", None].metadata["claude_batch/completeness"].value == 1 - times / 4


@pytest.mark.verify
def test_each_partition_has_its_own_figures(world: "DagsterWorld", classification: Declare) -> None:
    """In a range a partition is judged by its own rows alone."""
    world.write("UPDATE public.documents SET text = NULL WHERE id = 'b'")

    found = recorded(world, world.run(classification(), span=ALL))

    rates = {
        key: one.metadata["claude_batch/error_rate"].value for (name, key), one in found.items() if name == "error_rate"
    }
    assert rates == {"1790": 0.0, "1791": 0.5, "1792": 0.0, "1793": 0.0, None: 0.5}
    assert {key for (name, key), one in found.items() if not one.passed} == {"1791", None}


@pytest.mark.verify
def test_the_numbers_of_checks_can_be_plotted(world: "DagsterWorld", classification: Declare) -> None:
    """Every figure of a check is a number to Dagster."""
    found = recorded(world, world.run(classification(), span=ALL))

    kinds = {type(value) for one in found.values() for value in one.metadata.values()}
    assert kinds == {dg.FloatMetadataValue, dg.IntMetadataValue}


def test_failing_checks_fail_no_run(world: "DagsterWorld", classification: Declare) -> None:
    """A check warns the reader of a table; it blocks nothing."""
    world.emulator.faults.add("invalid_request")

    result = world.run(classification(), span=ALL)

    assert result.success
    assert len(result.asset_materializations_for_node("answers")) == 4
