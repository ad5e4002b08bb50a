"""
The rule book: what an answer to a create call proves, and what follows from it.

Written from the protocol, not from the code that keeps it: nothing of the product is imported here. An API
that names a batch is believed to have one, however early it says so. Any other answer that comes before the
last byte of the body has left is a no, since half a body is no batch. After that byte only the API's own
refusal is a no; all else may be a yes. No header changes what an answer proves.
"""

from typing import Literal, NamedTuple

from proof.answers.cells import BATCH, CUT_OFF, EDGE, ENVELOPE, GARBLED, OTHER_COUNT, SUCCESS, Cell

Outcome = Literal["yes", "no", "ambiguous"]

REFUSALS = ("400", "401", "402", "403", "404", "413", "422", "429")
"""Statuses with which the API says that it took nothing. Not 408, 409 or 499: those may come after it did."""

WAIT = "waits for the batch"
SEARCH = "looks for it in the list of batches, sends nothing else meanwhile"
HOLD = "keeps its id and takes it over once it has ended and is proved ours"
REPEAT = "sends it again after a pause"
HALVE = "sends it in two halves"
STOP = "stops the run with advice; what was not sent is free"


class Rule(NamedTuple):
    """What a cell proves, and what the plugin does."""

    outcome: Outcome
    action: str


def rule(cell: Cell) -> Rule:
    """Look a cell up in the rule book."""
    outcome = _outcome(cell)
    if outcome == "yes":
        return Rule(outcome, WAIT)
    if outcome == "no":
        return Rule(outcome, _after_a_no(cell))
    return Rule(outcome, HOLD if _names_a_batch(cell) else SEARCH)


def _outcome(cell: Cell) -> Outcome:
    if _names_a_batch(cell):
        return "yes" if cell.body == BATCH else "ambiguous"
    if not cell.released:
        return "no"
    return "no" if cell.status in REFUSALS and _is_refusal(cell) else "ambiguous"


def _names_a_batch(cell: Cell) -> bool:
    return cell.status in SUCCESS and cell.body in {BATCH, OTHER_COUNT}


def _is_refusal(cell: Cell) -> bool:
    """Whether the body is the API's error envelope; the edge in front of it leaves out the outer type with 413."""
    return cell.body == ENVELOPE or (cell.body == EDGE and cell.status == "413")


def _after_a_no(cell: Cell) -> str:
    broke_off = not cell.status.isdecimal() or cell.body in {CUT_OFF, GARBLED}
    if broke_off or cell.status == "429":
        return REPEAT
    return HALVE if cell.status == "413" else STOP
