"""What is promised, sentence by sentence, as the docs have it: each planted bug breaks one of these."""

from enum import StrEnum


class Promise(StrEnum):
    """A sentence of the promise; the docs show the planted bugs in this order."""

    PAID_ONCE = (
        "A document is sent again only if the API refused it, its attempt ended unbilled, you asked, or a send stayed "
        "invisible for the whole quiet period."
    )
    WRITTEN_DOWN_FIRST = (
        "What is sent is written to the ledger before it is sent, and the last byte is withheld until it says there "
        "that the batch may now be accepted."
    )
    SEARCHED_BEFORE_SENT_AGAIN = (
        "A batch whose acceptance is not known is looked for before anything else is sent, and adopted only if its "
        "results carry our nonce."
    )
    REPORTED = (
        "The one case that can pay twice is reported with an upper bound in dollars, watched until results expire, and "
        'switched off by `on_unconfirmed="hold"`.'
    )
    ONE_RUN_AT_A_TIME = (
        "One process at a time submits for a table, under a lock that is not a lease, and sends no row that another "
        "run has claimed."
    )
    ONE_QUESTION_ONE_ANSWER = (
        "A question is the final request: rows that ask the same share one answer, and the answer to another question "
        "is not theirs."
    )
    ON_DISK_BEFORE_NAMED = "What is written down is on disk before it counts, and half a file is never read."
    COUNTED = (
        "Each line of the results is matched with its row, what lacks rows is downloaded again, and rows and verdicts "
        "balance."
    )
    NOTHING_LOST = (
        "No answer that was paid for is lost, whatever dies, and a good answer is never replaced by a failure."
    )
    LEDGER_PAIRED = "A run with another ledger than the one that filled the table stops before anything is sent."
    NOTHING_UNANNOUNCED = (
        "Nothing is sent that was not announced, nothing is paid for again without a person's word, and what is sent "
        "can never cost more than its budget."
    )
    SECRETS_STAY = (
        "Keys and documents appear in no log, event or ledger, and go to the configured base URL and nowhere else."
    )
    STOPPED_BY_A_PERSON = (
        "What a person has stopped is not started again, and what other runs or partitions need goes on."
    )
