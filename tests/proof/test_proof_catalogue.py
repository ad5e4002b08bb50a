"""Every fault of the catalogue is proved by a test that carries its number, or excused with a reason."""

from dataclasses import replace

import pytest

from proof.catalogue import Fault, collect, complaints, coverage, faults, numbers_in

FAULT = Fault(id="F1", stage="reading", fault="The table is gone", outcome="It is said", excused="")


@pytest.mark.verify
def test_every_fault_is_proved_or_excused() -> None:
    """Add the number of a fault to the test that proves it; `python -m proof.catalogue` shows all of them."""
    assert complaints(faults(), coverage(collect())) == []


def test_the_catalogue_is_whole() -> None:
    """Its numbers run from 1 to 126, each with its own words and a promise."""
    catalogue = faults()

    assert [fault.id for fault in catalogue] == [f"F{n}" for n in range(1, 127)]
    assert len({fault.fault for fault in catalogue}) == 126
    assert all(fault.stage and fault.fault and fault.outcome for fault in catalogue)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_f33_f50_a_thing", {"F33", "F50"}),
        ("test_a_thing[F34-reset]", {"F34"}),
        ("test_a_thing[deleted-F90-rows]", {"F90"}),
        ("test_a_thing[F42-F43-429]", {"F42", "F43"}),
        ("test_f1_f12", {"F1", "F12"}),
        ("test_a_half_of1 f_1 1f1 xf2", set()),
        ("test_utf8_and_ff2[ef7]", set()),
        ("test_hex[0f3c]", set()),
    ],
    ids=lambda _: "",  # names with numbers in them would prove something
)
def test_a_number_is_a_word_of_its_own(name: str, numbers: set[str]) -> None:
    """Nothing else in a name is taken for one, nor the name of a file."""
    assert numbers_in(f"tests/test_f99_file.py::{name}") == numbers


@pytest.mark.parametrize(
    ("fault", "carried", "complaint"),
    [
        (FAULT, {}, "F1 is in no test: The table is gone"),
        (replace(FAULT, excused="later", stage="sensors"), {"F1": 2}, "F1 is excused although tests carry it"),
        (replace(FAULT, excused="later"), {}, "F1 must be proved, not excused"),
        (FAULT, {"F1": 1, "F127": 1}, "F127 is in no catalogue"),
    ],
    ids=["bare", "idle", "early", "strange"],
)
def test_whatever_is_wrong_is_told(fault: Fault, carried: dict[str, int], complaint: str) -> None:
    """The check can fail in each of its ways."""
    assert complaints([fault], carried) == [complaint]


def test_nothing_is_told_when_nothing_is_wrong() -> None:
    """Proved, or excused where that is allowed."""
    assert complaints([FAULT, replace(FAULT, id="F2", stage="sensors", excused="later")], {"F1": 1}) == []
