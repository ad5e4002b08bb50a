"""
Drawings for Dagster's UI.

The UI draws markdown in place only below 1,000 characters and hides longer values behind a click; it
shows images with a data address but drops HTML. Hence two drawings: sparklines to see at once, and a
heat map to open.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape

_TICKS = "▁▂▃▄▅▆▇█"
_CELL_WIDTH, _CELL_HEIGHT = 33, 26
_LEFT, _TOP = 168, 66
_DARK = (38, 33, 130)
_DARKEST_FROM = 0.25


def as_markdown(svg: str, alt: str) -> str:
    """Return the drawing as a markdown image, the only form in which the UI shows it."""
    return f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def sparklines(shares: Mapping[int, Mapping[str, float]], themes: Sequence[str]) -> str:
    """Draw one line of ticks per theme, scaled to its own peak, as a markdown table."""
    if not shares:
        return "Nothing is classified yet."
    lines = [f"|theme|{min(shares)}s to {max(shares)}s|peak|", "|--|--|--|"]
    for theme in themes:
        series = {decade: row.get(theme, 0.0) for decade, row in sorted(shares.items())}
        peak = max(series, key=lambda decade: series[decade])
        top = series[peak] or 1.0
        ticks = "".join(_TICKS[round((len(_TICKS) - 1) * share / top)] for share in series.values())
        lines.append(f"|{theme}|{ticks}|{peak}s {series[peak]:.0%}|")
    # Narrow as the column is, a line that wraps spoils the picture.
    return "\n".join(lines).replace(" ", "\N{NO-BREAK SPACE}")


def heat_map(shares: Mapping[int, Mapping[str, float]], themes: Sequence[str], *, n_paragraphs: int) -> str:
    """Draw decades from left to right and themes from top to bottom, darker where a theme takes more room."""
    decades = sorted(shares)
    width = _LEFT + _CELL_WIDTH * max(len(decades), 8) + 12
    height = _TOP + _CELL_HEIGHT * len(themes) + 34
    body = [
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="26" font-size="17" font-weight="600">What the presidents talked about</text>',
        f'<text x="12" y="46" fill="#667">{_subtitle(n_paragraphs)}</text>',
    ]
    for row, theme in enumerate(themes):
        series = [shares[decade].get(theme, 0.0) for decade in decades]
        body.append(_label(row, theme))
        body += [_cell(column, row, share) for column, share in enumerate(series)]
        body += [_frame(series.index(max(series)), row)] if any(series) else []
    body += [_decade(column, decade, len(themes)) for column, decade in enumerate(decades)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12" fill="#1b1b2f">'
        f"{''.join(body)}</svg>"
    )


def _subtitle(n_paragraphs: int) -> str:
    return (
        f"Percent of the paragraphs of each decade ({n_paragraphs:,} in all). "
        "A frame marks the decade that had most of a theme."
    )


def _label(row: int, theme: str) -> str:
    y = _TOP + _CELL_HEIGHT * row + 17
    return f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{escape(theme)}</text>'


def _cell(column: int, row: int, share: float) -> str:
    x, y = _LEFT + _CELL_WIDTH * column, _TOP + _CELL_HEIGHT * row
    # The curve keeps small shares apart from each other; nearly all are below a quarter.
    strength = min(1.0, share / _DARKEST_FROM) ** 0.75
    color = ",".join(str(round(255 - strength * (255 - channel))) for channel in _DARK)
    ink = "#fff" if strength > 0.5 else "#1b1b2f"  # noqa: PLR2004 - where dark text stops being readable
    return (
        f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH - 1}" height="{_CELL_HEIGHT - 1}" fill="rgb({color})"/>'
        f'<text x="{x + _CELL_WIDTH // 2}" y="{y + 17}" text-anchor="middle" font-size="11" fill="{ink}">'
        f"{100 * share:.0f}</text>"
    )


def _frame(column: int, row: int) -> str:
    x, y = _LEFT + _CELL_WIDTH * column, _TOP + _CELL_HEIGHT * row
    return (
        f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH - 1}" height="{_CELL_HEIGHT - 1}" fill="none" '
        'stroke="#f0a020" stroke-width="2.5"/>'
    )


def _decade(column: int, decade: int, n_rows: int) -> str:
    x, y = _LEFT + _CELL_WIDTH * column + _CELL_WIDTH // 2, _TOP + _CELL_HEIGHT * n_rows + 16
    return f'<text x="{x}" y="{y}" text-anchor="middle" font-size="11" fill="#667">{decade}</text>'
