"""Results cut at every byte: in the API's hands, and over a real socket in every framing."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from proof.cuts import CHAIN, LAST, cut_in_chains, places_near_line_ends, restored_in_chains, run
from proof.cuts.framings import FRAMINGS, Framing, download
from proof.cuts.world import WHOLE, CutApi, cut_world, served_cut_world
from proof.scratch import scratch

SHARE = 199
"""Of the bytes far from a line's end, every so many-th is a cut here; each of them under `make soak`."""

N_PARTS = 4

N_PLACES = 38
"""Cuts in each framing over a real socket."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory."""
    with scratch() as folder:
        yield folder


def places() -> list[int]:
    """Return every line's end, some places near it, every so many-th byte, and each byte of the last lines."""
    ends = {place + 1 for place, byte in enumerate(WHOLE[:-1]) if byte == ord("\n")}
    return sorted({*ends, *places_near_line_ends()[::3], *range(0, LAST, SHARE), *range(LAST - 200, LAST)})


@pytest.mark.verify
@pytest.mark.parametrize("part", range(N_PARTS))
def test_f69_f70_results_that_end_too_early_are_noticed_and_downloaded_again(folder: Path, part: int) -> None:
    """In mid-line, in mid-character or at a line's end: nothing lands but the whole, and then every row of it."""
    assert cut_in_chains(folder, places()[part::N_PARTS], length=CHAIN) == []


@pytest.mark.verify
def test_f69_f90_answers_that_come_back_cut_are_not_taken_for_whole(folder: Path) -> None:
    """The table was lost: no cut makes a row of it `missing`, and the rest comes with the next download."""
    near = places_near_line_ends()
    chosen = sorted({*near[:: 2 * SHARE], *near[-10:]})

    assert restored_in_chains(folder, chosen, length=CHAIN) == []


@pytest.mark.soak
def test_f69_f70_results_cut_at_every_byte_lose_nothing() -> None:
    """Each byte of the results of 200 requests, which is what `python -m proof.cuts` publishes."""
    finding = run()

    assert finding.holds
    assert finding.n_schedules > len(WHOLE)


def test_the_share_has_every_line_end_and_the_last_lines_whole() -> None:
    """The cuts that look most like an end are all in it, and no place at which nothing is lacking."""
    share = set(places())
    ends = {place + 1 for place, byte in enumerate(WHOLE) if byte == ord("\n")}

    assert ends - share == {len(WHOLE)}
    assert set(range(LAST - 200, LAST)) <= share
    assert len(share) > 800


def test_f75_results_that_lack_their_last_newline_lack_nothing(folder: Path) -> None:
    """The only cut that may be taken for the whole."""
    api = CutApi(WHOLE[:-1])
    with cut_world(folder, api) as world:
        assert world.collect()
        assert (world.faults_at_home(), api.n_downloads) == ([], 1)


# --- over a real socket ----------------------------------------------------------------------------


@pytest.mark.verify
@pytest.mark.parametrize("framing", [pytest.param(framing, id=f"F69-F70-{framing}") for framing in FRAMINGS])
def test_downloads_that_break_off_are_noticed_in_every_framing(folder: Path, framing: Framing) -> None:
    """With a length, with chunks, or with nothing but the end of the connection; closed or reset."""
    chosen = random.Random(framing)  # noqa: S311  (a seed, not a secret)
    places = chosen.sample(places_near_line_ends(), N_PLACES // 2) + chosen.sample(range(LAST), N_PLACES // 2)
    with served_cut_world(folder) as (world, server):
        for number, place in enumerate(places):
            server.script = download(WHOLE, framing, n_missing=len(WHOLE) - place, resets=number % 2 == 1)
            assert (place, world.collect(), world.faults_in_vain(), world.rows()) == (place, False, [], [])
            server.script = download(WHOLE, framing, n_missing=0)
            assert (place, world.collect(), world.faults_at_home()) == (place, True, [])
            world.set_back()

        assert [request.method for request in server.requests] == ["GET"] * 2 * N_PLACES
