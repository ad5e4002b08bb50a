"""Bugs in what a run may spend: more than its budget, more than a few rows on a bad question, without a word."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

from collections.abc import Iterable

from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.planning.canary import Evidence
from claude_batch_dagster.core.running.dispatch import Dispatch
from claude_batch_dagster.core.running.pipeline import Pipeline
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.core.sending.purse import Purse
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.planner import Planner
from claude_batch_dagster.storage.duckdb.asking import refreshes
from claude_batch_dagster.storage.duckdb.asking.planning import Planning
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.ledger import budgets
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

BUDGET = "tests/core/test_core_budget.py"
CANARY = "tests/core/test_core_canary.py"
PLAN = "tests/core/test_core_plan.py"
LIVES = "tests/proof/test_proof_spending.py"
KILLED = f"{LIVES}::test_f114_what_a_killed_run_has_sent_counts"
LANDED_NEXT_DAY = f"{LIVES}::test_f114_what_landed_on_the_next_day_counts_on_the_day_before"
UNSEEN = f"{LIVES}::test_f114_what_nobody_has_seen_counts"


@breaks(
    Promise.NOTHING_UNANNOUNCED,
    caught_by=(
        f"{BUDGET}::test_money_is_reserved_until_results_have_landed",
        f"{BUDGET}::test_two_runs_share_a_budget",
    ),
)
def money_counted_when_billed(planter: Planter) -> None:
    """What is on its way has cost nothing yet."""
    planter.rewrite(budgets, "committed", "float(connection.execute(reserved).scalar_one()) + ", "")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{BUDGET}::test_what_is_unconfirmed_counts_as_paid",))
def unconfirmed_costs_nothing(planter: Planter) -> None:
    """A batch that nobody has seen was not accepted."""
    reserved = "sa.func.sum(chunks.c.reserved_usd)"
    seen = "sa.func.sum(sa.case((chunks.c.state == 'unseen', 0.0), else_=chunks.c.reserved_usd))"
    planter.rewrite(budgets, "committed", reserved, seen)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{BUDGET}::test_half_the_money_lands_half",))
def budget_is_a_wish(planter: Planter) -> None:
    """The last batch may go a little beyond."""
    planter.replace(Purse, "affordable", lambda self, rows, lane: rows)  # noqa: ARG005  (called by their names)
    planter.replace(budgets, "check", lambda connection, chunk, allowance: None)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{KILLED}[day]", f"{KILLED}[month]"))
def each_run_minds_its_own_money(planter: Planter) -> None:
    """What a run that died has reserved is nobody's any more."""
    of_all = "root_run_id=root if since is None and not whole else None"
    planter.rewrite(Budget, "allowance", of_all, "root_run_id=None if whole else root")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{KILLED}[run]",))
def repeated_run_starts_afresh(planter: Planter) -> None:
    """Whoever runs again what has failed means to spend."""
    planter.rewrite(Budget, "allowance", "occasion.root_run_id or occasion.run_id", "occasion.run_id")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{KILLED}[day]",))
def day_of_a_few_hours(planter: Planter) -> None:
    """What was sent hours ago has long been settled."""
    hours_ago = "today.replace(hour=now.hour)"
    planter.rewrite(Budget, "allowance", '{"day": today,', f'{{"day": {hours_ago},')


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{UNSEEN}[day]", f"{UNSEEN}[month]"))
def sent_when_the_api_says_so(planter: Planter) -> None:
    """The day of a batch is the one on which the API created it."""
    planter.rewrite(budgets, "committed", "chunks.c.intended_at >=", "chunks.c.batch_created_at >=")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(LANDED_NEXT_DAY,))
def day_is_over_when_it_is_midnight(planter: Planter) -> None:
    """What landed on the next day was spent on that day."""
    planter.rewrite(
        budgets,
        "committed",
        ".where(*conditions)\n    )",
        ".where(*conditions, sa.func.date(chunks.c.ended_at) == sa.func.date(chunks.c.intended_at))\n    )",
    )


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVES}::test_one_request_goes_ahead_of_each_plan",))
def another_one_ahead(planter: Planter) -> None:
    """If the first request has not written the cache, the second will."""
    probe = Pipeline._probe  # noqa: SLF001  (a bug is planted where it would be)

    def twice(self: Pipeline, rows: Iterable[OpenRow]) -> None:
        probe(self, rows)
        probe(self, rows)

    planter.replace(Pipeline, "_probe", twice)


@breaks(
    Promise.NOTHING_UNANNOUNCED,
    caught_by=(f"{CANARY}::test_where_they_come_to_nothing_the_others_are_not_sent[refusal]",),
)
def canary_unheard(planter: Planter) -> None:
    """The first rows are answered, so the others may go."""
    planter.replace(Evidence, "objection", lambda self, most_usd: None)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{CANARY}::test_rows_that_keep_an_earlier_answer_speak_too",))
def canary_looks_at_the_status(planter: Planter) -> None:
    """A row that shows a good answer has a good answer."""
    shows_good = "CASE WHEN t.status = 'succeeded'"
    planter.rewrite(Planning, "evidence", "CASE WHEN t.request_hash = q.request_hash", shows_good)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{PLAN}::test_paying_again_needs_a_word",))
def edits_pay_again(planter: Planter) -> None:
    """Whoever edits a prompt wants new answers."""
    planter.replace(Planner, "check", lambda self, forecast: None)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{PLAN}::test_a_plan_changes_nothing",))
def plan_brings_the_table_up_to_date(planter: Planter) -> None:
    """A plan that is right is worth keeping."""
    planter.rewrite(Engine, "_plan", "connection.rollback()", "connection.commit()")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{PLAN}::test_a_limit_sends_the_first_rows",))
def limit_of_the_first_round(planter: Planter) -> None:
    """What was left out in one round is due in the next."""
    planter.rewrite(Dispatch, "look", "if self.left_out:", "if self.left_out and not self.following.sent:")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{PLAN}::test_a_full_refresh_asks_everything_again[template]",))
def refresh_forgotten(planter: Planter) -> None:
    """The run knows that it refreshes."""
    planter.replace(refreshes, "write", lambda connection, names: None)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{PLAN}::test_a_row_that_is_left_out_keeps_its_answer",))
def left_out_rows_are_blocked_whatever_they_have(planter: Planter) -> None:
    """What was not sent has no answer."""
    planter.rewrite(Projection, "_replace", "(n.{GOOD} OR NOT n._cb_stands)", "(n.{GOOD} OR n.status = 'blocked')")
