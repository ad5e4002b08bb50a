"""Collect once more: what the database lacks, and what the API has withheld so far."""

from dataclasses import dataclass

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.collecting.answer_records import gone, lack, word
from claude_batch_dagster.core.collecting.downloads import MAX_DOWNLOADS
from claude_batch_dagster.core.collecting.receiving import Receiving
from claude_batch_dagster.core.ledger import ChunkRecord, Requests, State
from claude_batch_dagster.core.more_memory import with_more_memory
from claude_batch_dagster.core.ports import Lack, Receipt, place_of
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.verdicts import CLAIMED, GONE, Verdict
from claude_batch_dagster.errors import ApiResponseError


@dataclass(frozen=True, kw_only=True)
class Recollection(Receiving):
    """Collects batches of one pipeline that were collected before: at no cost, and without taking anything back."""

    @with_more_memory
    def collect(self, chunk_id: str, *, here: bool = True) -> None:
        """
        Land a chunk that the database lacks once more, at no cost: from the spool, or from the API as long as it can.

        Requests whose results nobody has are gone: they were paid for, and are not sent again. Raises `ApiError` when
        the API cannot be asked just now, nor `here` where we send; or, once the others have landed, when it does not
        hand out every result that it had before.
        """
        with self.held(chunk_id):
            chunk = self.ledger.chunk(chunk_id)
            self._check_place(chunk, here=here)
            if chunk.state is State.LOST or not (self.downloads.has(chunk) or self.downloads.again(chunk)):
                self.land_gone(chunk)
                return
            n_lacking = self._land_again(chunk)
        if n_lacking:
            rows = counted(n_lacking, "row that was", "rows that were")
            text = f"the results of batch {chunk.batch_id} lack {rows} in them; try again later"
            raise ApiResponseError(text)

    def _land_again(self, chunk: ChunkRecord) -> int:
        """
        Land what is kept, or can still be had; return how many requests lack a result that they had before.

        Neither a file on our disk nor a download is taken for whole: what the ledger says came back must be there.
        """
        old = self.downloads.are_old(chunk)
        for n_tries in range(MAX_DOWNLOADS + 1):
            with self.receipt(chunk) as (requests, receipt):
                lacking = lacking_in(requests, receipt)
                if not lacking or n_tries == MAX_DOWNLOADS:
                    without: dict[int, Lack] = {}
                    for place in receipt.lacking:
                        known = requests.outcomes[place]
                        if old and (place in lacking or known == CLAIMED):
                            without[place] = gone(known)
                        elif place not in lacking:
                            without[place] = lack(known, withheld=False)
                    receipt.land(without)
                    return 0 if old else len(lacking)
            self.downloads.append(chunk, {requests.custom_ids[place] for place in lacking})
        raise AssertionError(chunk)  # pragma: no cover  (the last try lands)

    @with_more_memory
    def look(self, chunk_id: str, *, here: bool = True) -> None:
        """
        Land results that nobody had until now, and that have turned up: they were paid for.

        The API counted them and did not hand them out at first; or their file was lost here, and was put back.
        """
        with self.held(chunk_id):
            chunk = self.ledger.chunk(chunk_id)
            if not here and not self.downloads.has(chunk):
                return  # what another workspace does not show says nothing
            requests = self.ledger.requests(chunk_id)
            withheld = {place for place, known in enumerate(requests.outcomes) if known == CLAIMED}
            kept, old = self.downloads.has(chunk), self.downloads.are_old(chunk)
            if withheld and kept and not old:
                self.downloads.append(chunk, {requests.custom_ids[place] for place in withheld})
            if kept or (not old and self.downloads.again(chunk)):
                self._land_found(chunk, withheld if old else set())
            elif old:
                self.land_gone(chunk, withheld)

    def _land_found(self, chunk: ChunkRecord, gone_if_lacking: set[int]) -> None:
        with self.receipt(chunk) as (requests, receipt):
            without = {place: gone(requests.outcomes[place]) for place in gone_if_lacking.intersection(receipt.lacking)}
            missed = (place for place, known in enumerate(requests.outcomes) if known in {CLAIMED, GONE})
            # The books first: should this process die, what is found is found again, and is on the books already.
            if new := set(missed).difference(receipt.lacking):
                failures, good = receipt.outcomes(), word(Came.SUCCEEDED)
                outcomes = {place: failures.get(place, good) for place in sorted(new)}
                self.ledger.note_outcomes(chunk.chunk_id, outcomes, receipt.spends(new))
            receipt.land(without)

    def _check_place(self, chunk: ChunkRecord, *, here: bool) -> None:
        """Raise if results would have to be asked for where they cannot be: silence there proves nothing."""
        if not here and chunk.state is not State.LOST and not self.downloads.has(chunk):
            place = place_of(chunk.account)
            raise ApiResponseError(f"the results of batch {chunk.batch_id} are where we do not send now: {place}")


def lacking_in(requests: Requests, receipt: Receipt) -> set[int]:
    """Return the requests whose results came back once, by the ledger's word, and are lacking now."""
    return {
        place
        for place in receipt.lacking
        if (known := requests.outcomes[place]) is not None and not known.startswith(Verdict.MISSING)
    }
