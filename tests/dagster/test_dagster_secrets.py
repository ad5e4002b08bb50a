import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster.errors import ClaudeBatchError
from tests.canary import DOCUMENT, KEY, in_runs, marked

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]

ALL = ("1790", "1793")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return a Dagster instance of the test's own."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def canaries(world: "DagsterWorld", caplog: pytest.LogCaptureFixture) -> "DagsterWorld":
    """Return a world whose key is a canary, with one in every document, and every logger talking."""
    caplog.set_level(logging.DEBUG)
    world.console_level = "DEBUG"
    return world


def told(world: "DagsterWorld", caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Return all that Dagster, logs and terminal have been told."""
    terminal = "".join(capfd.readouterr())
    assert "RUN_START" in terminal  # it is looked at, and Dagster prints what it does
    shown: list[object] = [caplog.text, terminal]
    for run in world.instance.get_runs():
        shown += [run, *world.instance.all_logs(run.run_id)]
        if run.job_snapshot_id:
            shown.append(world.instance.get_job_snapshot(run.job_snapshot_id))
        if run.execution_plan_snapshot_id:
            shown.append(world.instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id))
    return "\n".join(map(str, shown))


def kept(world: "DagsterWorld") -> dict[Path, bytes]:
    """Return the files of the state directory."""
    return {path.relative_to(world.state): path.read_bytes() for path in world.state.rglob("*") if path.is_file()}


def run_well(world: "DagsterWorld", classification: Declare) -> None:
    """Run to a good end."""
    world.run(classification(), span=ALL)


def run_without_credit(world: "DagsterWorld", classification: Declare) -> None:
    """Run into a spend limit."""
    world.emulator.faults.add("spend_limit_400", endpoint="create")
    world.run(classification(), span=ALL, raises=False)


def run_with_a_wrong_key(world: "DagsterWorld", classification: Declare) -> None:
    """Run with a key that is refused."""
    world.emulator.faults.add("401", endpoint="create")
    world.run(classification(), span=ALL, raises=False)


def run_into_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """Run against an API that is not there."""
    world.run(classification(), span=ALL, raises=False, base_url="http://127.0.0.1:9")


def run_with_useless_answers(world: "DagsterWorld", classification: Declare) -> None:
    """Run over answers that do not fit."""
    world.emulator.faults.add("misfit", times=2)
    world.emulator.faults.add("not_json", times=2)
    world.run(classification(), span=ALL)


def run_with_lost_answers(world: "DagsterWorld", classification: Declare) -> None:
    """Run over replies that are lost and results that are cut."""
    world.emulator.faults.add("drop_after_accept", times=1)
    world.emulator.faults.add("results_cut_mid_line", times=1)
    world.run(classification(), span=ALL, quiet_period_seconds=60)


def run_with_a_missing_column(world: "DagsterWorld", classification: Declare) -> None:
    """Run over a table that lacks a column."""
    world.run(classification(text_column="body"), span=ALL, raises=False)


def run_with_an_unreadable_reply(world: "DagsterWorld", classification: Declare) -> None:
    """Run over a reply that is a page of HTML."""
    world.emulator.faults.add("html_200", endpoint="create", times=1)
    world.run(classification(), span=ALL, raises=False, quiet_period_seconds=0)


RUNS = [
    run_well,
    run_without_credit,
    run_with_a_wrong_key,
    run_into_nothing,
    run_with_useless_answers,
    run_with_lost_answers,
    run_with_a_missing_column,
    run_with_an_unreadable_reply,
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_f120_neither_key_nor_documents_are_told(
    canaries: "DagsterWorld",
    classification: Declare,
    run: Callable[["DagsterWorld", Declare], None],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """However a run goes, no event, log line, snapshot, tag, error or file holds the key or a document."""
    run(canaries, classification)

    shown = told(canaries, caplog, capfd)
    assert KEY not in shown
    assert DOCUMENT not in shown
    files = kept(canaries)
    assert not any(KEY.encode() in content for content in files.values())
    assert not any(DOCUMENT.encode() in content for content in files.values())
    assert not any("canary" in str(path) for path in files)


@pytest.mark.parametrize("run", [run_well, run_with_a_wrong_key], ids=lambda run: run.__name__)
def test_f120_documents_leave_the_disk_with_the_run(
    canaries: "DagsterWorld", classification: Declare, run: Callable[["DagsterWorld", Declare], None]
) -> None:
    """The requests of a run, which hold documents, are deleted when it ends, well or not."""
    run(canaries, classification)

    assert list((canaries.state / "outbox").iterdir()) == []


def test_f126_what_is_kept_is_for_its_owner_only(canaries: "DagsterWorld", classification: Declare) -> None:
    """No file or folder of the state directory can be read by others."""
    canaries.run(classification(), span=ALL)

    readable = [path for path in [canaries.state, *canaries.state.rglob("*")] if path.stat().st_mode & 0o077]
    assert [path.name for path in readable if not path.name.startswith("ledger.sqlite")] == []
    assert canaries.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "option",
    [
        {"partition_expr": "text"},
        {"sql": "SELECT id, text, CAST(text AS DATE) AS published_on FROM public.documents"},
    ],
    ids=["partition_expr", "sql"],
)
def test_f120_errors_of_the_database_repeat_no_document(
    canaries: "DagsterWorld",
    classification: Declare,
    option: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """DuckDB quotes the value that it cannot convert; the run's error does not."""
    with pytest.raises(ClaudeBatchError) as caught:
        canaries.run(classification(**option), span=ALL)

    assert DOCUMENT not in str(caught.value)
    assert DOCUMENT not in told(canaries, caplog, capfd)


def test_f120_an_error_of_a_prompt_function_is_its_authors(
    canaries: "DagsterWorld", classification: Declare, asking: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    """What a user's own function raises is shown as it is, without ours adding the row to it."""
    from claude_batch_dagster.assets.labels import label_model  # noqa: PLC0415  (not a public name)

    def prompt(row: Any) -> str:
        raise ValueError(len(row))

    canaries.run(asking(prompt=prompt, output=label_model({"a": "", "b": ""})), raises=False)

    assert DOCUMENT not in caplog.text


def test_f120_the_key_is_in_no_configuration(canaries: "DagsterWorld", classification: Declare) -> None:
    """What Dagster shows of the resource is the name of the variable."""
    defs = dg.Definitions(assets=[classification()], resources={"claude_batch": canaries.resource()})

    shown = repr(defs.get_repository_def().get_top_level_resources()["claude_batch"].config_schema.default_value)

    assert "CLAUDE_TEST_KEY" in shown
    assert KEY not in shown


def test_f120_a_canary_among_dagsters_events_is_found() -> None:
    """In metadata, logs, tags and errors of a run."""

    @dg.asset
    def tells(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"sample": marked("a tax")})

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([tells], instance=instance)

        assert list(in_runs(instance, instance.get_runs())) == [f"{DOCUMENT} in what Dagster keeps of a run"]
