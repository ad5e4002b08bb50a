"""The scorer chooses the label that shares the most and the rarest words with a text."""

import pytest

from claude_batch_dagster.emulator.lexicon import Scorer, stem, stems

LABELS = {
    "foreign_affairs": "treaties with other nations, ambassadors, embassies",
    "economy": "money, banks, trade and taxation",
    "defense": "the army, the navy and the building of ships",
    "other": "anything else",
}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("taxes", "taxing"),
        ("treaty", "treaties"),
        ("nations", "national"),
        ("banking", "banks"),
        ("settlement", "settled"),
        ("trade", "trading"),
        ("buildings", "building"),
    ],
)
def test_forms_of_a_word_share_a_stem(first: str, second: str) -> None:
    """Endings do not keep related words apart."""
    assert stem(first) == stem(second) != ""


def test_words_that_say_nothing_do_not_count() -> None:
    """Short words and function words have no stem; the others are counted."""
    assert stems("The war of the wars, and a WAR!") == {"war": 3}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Our ambassador has signed the treaty.", "foreign_affairs"),
        ("The bank lends money.", "economy"),
        ("Ships were built for the navy.", "defense"),
        ("Affairs abroad are quiet.", "foreign_affairs"),
        ("Among other things, other ships.", "defense"),
        ("xyzzy", "other"),
        ("", "other"),
    ],
)
def test_the_best_label_is_chosen(text: str, label: str) -> None:
    """Names and descriptions both count; a text that matches nothing is `other`."""
    assert Scorer(LABELS).best(stems(text)) == label


def test_ties_go_to_the_first_label() -> None:
    """Labels that fit equally well are taken in their order."""
    labels = {"left": "shared word", "right": "shared word"}

    assert Scorer(labels).best(stems("a shared word")) == "left"


@pytest.mark.parametrize(
    ("names", "fallback"),
    [
        (["alpha", "other", "none"], "none"),
        (["misc", "alpha"], "misc"),
        (["alpha", "beta"], "alpha"),
        (["Unknown", "beta"], "Unknown"),
    ],
)
def test_without_any_match_the_last_label_that_means_other_is_taken(names: list[str], fallback: str) -> None:
    """Failing one that means "other", the first."""
    assert Scorer(dict.fromkeys(names, "")).best(stems("nothing in common")) == fallback


def test_rare_words_weigh_more_than_common_ones() -> None:
    """A word that every label mentions decides nothing."""
    labels = {"one": "report on cattle", "two": "report on silver", "three": "report on report"}

    assert Scorer(labels).best(stems("a report, a report, a report on silver")) == "two"


def test_names_in_camel_case_are_words() -> None:
    """`taxPolicy` is found by its two words."""
    assert Scorer({"seaPower": "", "taxPolicy": ""}).best(stems("a new policy")) == "taxPolicy"
