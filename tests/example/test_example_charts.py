from xml.etree import ElementTree as ET

from example_project.charts import as_markdown, heat_map, sparklines
from example_project.themes import THEMES

SHARES = {1790: {"war": 0.1, "peace & trade": 0.9}, 1800: {"war": 0.8, "peace & trade": 0.2}}


def test_sparklines_show_rise_and_peak() -> None:
    """Each theme gets a line of ticks scaled to its own peak, and the decade of the peak."""
    assert sparklines(SHARES, ["war", "peace & trade", "none"]) == (
        "|theme|1790s to 1800s|peak|\n|--|--|--|\n|war|▂█|1800s 80%|\n|peace & trade|█▃|1790s 90%|\n|none|▁▁|1790s 0%|"
    ).replace(" ", "\N{NO-BREAK SPACE}")


def test_sparklines_of_everything_are_drawn_in_place() -> None:
    """Dagster's UI hides markdown of 1,000 characters and more behind a click."""
    everything = {decade: dict.fromkeys(THEMES, 1.0) for decade in range(1790, 2030, 10)}

    assert len(sparklines(everything, list(THEMES))) < 1_000


def test_nothing_classified_yet() -> None:
    """Without any label there are still two drawings."""
    assert sparklines({}, list(THEMES)) == "Nothing is classified yet."
    ET.fromstring(heat_map({}, list(THEMES), n_paragraphs=0))  # noqa: S314 - our own drawing


def test_heat_map_is_valid_and_has_every_share() -> None:
    """Names are escaped, and each decade has a number for each theme."""
    drawing = ET.fromstring(heat_map(SHARES, ["war", "peace & trade"], n_paragraphs=1_234))  # noqa: S314 - ours
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]

    assert texts[2:] == ["war", "10", "80", "peace & trade", "90", "20", "1790", "1800"]
    assert "1,234 in all" in str(texts[1])


def test_markdown_carries_the_drawing() -> None:
    """The image has a data address, the only one the UI can show."""
    assert as_markdown("<svg/>", "A map") == "![A map](data:image/svg+xml;base64,PHN2Zy8+)"
