"""What a run does for its rows, in this order: what a crash has left; then send, wait and collect, in rounds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from claude_batch_dagster.core.ledger import CLOSED
from claude_batch_dagster.core.ports import Answers, RunPlanner
from claude_batch_dagster.core.running.dispatch import Dispatch
from claude_batch_dagster.core.running.following import Following
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.errors import ApiError, CredentialError


@dataclass(kw_only=True)
class Pipeline:
    """
    Everything one run does for the rows of one output table.

    Runs first what a crash left behind, then sends, waits and collects, in rounds: a round asks every row
    that has no final verdict, until none is left.
    """

    following: Following
    dispatch: Dispatch
    answers: Answers
    planner: RunPlanner
    """Says what is going to be done before anything is sent, and what is not."""

    def answer(self, rows: Iterable[OpenRow]) -> None:
        """
        See to it that every question has its final verdict.

        `rows` are those to ask, one for each question, read once per round. Returns when no question of the run
        is open. Raises `ApiError` when the API refuses to go on, `HeldChunksError` when a person has to decide;
        whatever was sent by then is in the ledger, and the next run takes it up.
        """
        self._begin()
        self._plan()
        self._probe(rows)
        while flying := self.dispatch.send(rows):
            self._wait(flying)
        self._leave_out()
        if self.following.watch():
            self.following.collect_ended()
        for chunk_id in sorted(self.dispatch.lacking.keys() & self.dispatch.plan.followed):
            raise self.dispatch.lacking[chunk_id]

    def send(self, rows: Iterable[OpenRow]) -> set[str]:
        """Send what may be sent without waiting for answers; return the chunks that carry questions of ours."""
        self._begin()
        self._plan()
        self._probe(rows)
        flying = self.dispatch.send(rows)
        self.following.collect_answered(flying)
        self._leave_out()
        return flying

    def _plan(self) -> None:
        """Say what is going to be done, as it is once all that was paid for has landed."""
        with self.answers.opened():
            plan = self.dispatch.look()
            self.dispatch.left_out = self.planner.leave_out(plan)
            plan.leave_out(self.dispatch.left_out)
            self.planner.announce(plan)

    def _probe(self, rows: Iterable[OpenRow]) -> None:
        """Send the first rows of a large plan alone, and wait for them; raise `CanaryError` if they come to nothing."""
        n_first, self.dispatch.mark = self.planner.n_first, self.planner.mark
        if not n_first:
            return
        if flying := self.planner.sent_before() or self.dispatch.send(rows, most=n_first):
            self._wait(flying)
            if self.dispatch.lanes.is_late:  # they may have been given up, and then they say nothing
                again = self.dispatch.send(rows, most=n_first)
                self._wait(again)
                flying |= again
            self.planner.judge(flying)
            self.dispatch.mark = self.planner.mark

    def _wait(self, flying: set[str]) -> None:
        self.following.followed |= flying
        self.following.wait(flying)
        self._collect_lacking(self.answers.landed())  # the database was free for hours: it may be another one

    def _leave_out(self) -> None:
        """Let rows that were not sent say why."""
        self.dispatch.give_up()
        if self.dispatch.left_out:
            self.answers.leave_out(self.dispatch.left_out)

    def _begin(self) -> None:
        """Do first what earlier runs have left: what was paid for comes before anything is sent."""
        self.following.watch()
        self.following.settle_unconfirmed()
        self.following.collect_ended()  # also what nobody asks for any more: it was paid for
        self._collect_again()

    def _collect_again(self) -> None:
        """Land what was collected once and the database lacks; look for what the API has withheld so far."""
        with self.answers.opened():
            landed, withheld = self.answers.landed(), self.answers.without_results()
        if self._collect_lacking(landed):  # of which some may be withheld
            withheld = self.answers.without_results()
        for chunk_id in sorted(withheld - self.dispatch.lacking.keys()):
            self._repeat(self.following.collection.recollection.look, chunk_id)

    def _collect_lacking(self, landed: Mapping[str, int]) -> bool:
        """Land what was collected once, by the ledger's word, and the database lacks; `True` if there is any."""
        sizes = self.following.ledger.sizes(self.following.name, CLOSED)
        lacking = {chunk_id for chunk_id, n in sizes.items() if landed.get(chunk_id, 0) < n}
        for chunk_id in sorted(lacking - self.dispatch.lacking.keys()):
            self._repeat(self.following.collection.recollection.collect, chunk_id)
        return bool(lacking)

    def _repeat(self, collect: Callable[..., None], chunk_id: str) -> None:
        here = self.following.is_here(self.following.ledger.chunk(chunk_id))
        try:
            collect(chunk_id, here=here)
        except CredentialError:
            raise
        except ApiError as error:  # its questions are not asked meanwhile; who needs them meets it in the end
            self.dispatch.lacking[chunk_id] = error

    def unfinished(self) -> frozenset[str | None]:
        """Return the partitions with questions whose last word is not spoken, after `answer` has raised."""
        return self.answers.partitions_of(self.dispatch.look().unfinished)
