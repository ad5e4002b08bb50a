import dagster as dg

from example_project.summary import accuracy_in_words


def told(name: str, **figures: float) -> dg.AssetCheckEvaluation:
    """Return what a run has said of a check."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("classified_documents"),
        check_name=name,
        passed=True,
        metadata={f"claude_batch/{figure}": value for figure, value in figures.items()},
    )


def test_the_accuracy_is_told_with_its_interval_and_by_whom_it_is_known() -> None:
    """By the check of that name, whatever other checks there are."""
    checks = [
        told("complete", rows=3),
        told("accuracy", accuracy=0.58, accuracy_low=0.5219, accuracy_high=0.6365, gold_rows=300),
    ]

    assert accuracy_in_words(checks) == (
        "Accuracy 58.0 % (95 % interval: 52.2 % to 63.6 %), by 300 gold rows, which a language model has labelled and "
        "no person."
    )


def test_without_an_answered_gold_row_nothing_is_told() -> None:
    """Documents of one's own have none."""
    assert accuracy_in_words([told("accuracy", gold_rows=300, accuracy_at_least=0.0)]) == ""
    assert accuracy_in_words([]) == ""
