from xml.etree import ElementTree as ET

from example_project.bands import chart
from example_project.warehouse import Share

SVG = "{http://www.w3.org/2000/svg}"
SHARES = [
    Share("war", answered=0.20, corrected=0.15, low=0.10, high=0.22, gold_rows=300),
    Share("peace & trade", answered=0.0, corrected=0.01, low=0.0, high=0.02, gold_rows=300),
]


def test_each_theme_has_its_band_and_both_shares() -> None:
    """Names are escaped; the axis begins at 0 and ends beyond the largest band; numbers stand beside it."""
    drawing = ET.fromstring(chart(SHARES))  # noqa: S314 - our own drawing
    texts = ["".join(element.itertext()) for element in drawing.iter(f"{SVG}text")]

    assert "corrected by 300 gold rows that a language model has labelled" in texts[1]
    assert texts[-4:] == ["war", "15 (10 to 22)", "peace & trade", "1 (0 to 2)"]
    assert texts[4:-4] == ["0", "5", "10", "15", "20", "25"]


def test_marks_are_where_their_shares_are() -> None:
    """The dot of what was answered and the mark of what is known stand on one scale, within the drawing."""
    drawing = ET.fromstring(chart(SHARES))  # noqa: S314 - our own drawing
    ticks = [float(line.get("x1", "")) for line in drawing.iter(f"{SVG}line")]
    [_, war, peace] = [float(dot.get("cx", "")) for dot in drawing.iter(f"{SVG}circle")]

    assert (war, peace) == (ticks[4], ticks[0])
    assert float(drawing.get("width", "")) > ticks[-1]


def test_a_table_of_one_answer_is_drawn() -> None:
    """Where nothing is known to have a label, the axis still has a length."""
    drawing = ET.fromstring(chart([Share("war", 0.0, 0.0, 0.0, 0.0, 60)]))  # noqa: S314 - our own drawing
    ticks = [float(line.get("x1", "")) for line in drawing.iter(f"{SVG}line")]

    assert max(ticks) > min(ticks)
