"""A drawing of the share of each theme: as answered, and as gold rows correct it, with its band."""

from collections.abc import Sequence
from html import escape

from example_project.warehouse import Share

_LEFT, _TOP, _ROW, _PLOT, _RIGHT = 168, 84, 26, 480, 96
_STEP = 0.05
_ANSWERED, _CORRECTED, _BAND = "#f0a020", "#262182", "#c9c7ee"


def chart(shares: Sequence[Share]) -> str:
    """Draw a line for each theme, the largest on top: a band, a mark in it, and a dot for what was answered."""
    most = max(max(one.high, one.answered) for one in shares)
    n_steps = max(1, -int(-most // _STEP))
    width = _LEFT + _PLOT + _RIGHT
    height = _TOP + _ROW * len(shares) + 34
    scale = _PLOT / (n_steps * _STEP)
    body = [
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="12" y="26" font-size="17" font-weight="600">Share of each theme, as answered and corrected</text>',
        f'<text x="12" y="46" fill="#667">{_subtitle(shares[0].gold_rows)}</text>',
        *_key(),
        *(_grid(step, scale, len(shares)) for step in range(n_steps + 1)),
        *(_row(number, one, scale) for number, one in enumerate(shares)),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12" fill="#1b1b2f">'
        f"{''.join(body)}</svg>"
    )


def _subtitle(n_gold: int) -> str:
    return f"Percent of all paragraphs, corrected by {n_gold} gold rows that a language model has labelled."


def _key() -> list[str]:
    """Say what the marks mean."""
    y = 64
    return [
        _dot(_LEFT + 4, y),
        f'<text x="{_LEFT + 14}" y="{y + 4}">as answered</text>',
        f'<rect x="{_LEFT + 108}" y="{y - 5}" width="30" height="10" rx="3" fill="{_BAND}"/>',
        _mark(_LEFT + 123, y),
        f'<text x="{_LEFT + 146}" y="{y + 4}">corrected, with its 95 % band</text>',
    ]


def _grid(step: int, scale: float, n_rows: int) -> str:
    x, bottom = _LEFT + step * _STEP * scale, _TOP + _ROW * n_rows
    return (
        f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#e6e6ee"/>'
        f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" font-size="11" fill="#667">'
        f"{100 * step * _STEP:.0f}</text>"
    )


def _row(number: int, one: Share, scale: float) -> str:
    y = _TOP + _ROW * number + _ROW // 2
    low, high = _LEFT + one.low * scale, _LEFT + one.high * scale
    return (
        f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(one.theme)}</text>'
        f'<rect x="{low:.1f}" y="{y - 5}" width="{high - low:.1f}" height="10" rx="3" fill="{_BAND}"/>'
        f"{_mark(_LEFT + one.corrected * scale, y)}{_dot(_LEFT + one.answered * scale, y)}"
        f'<text x="{_LEFT + _PLOT + 12}" y="{y + 4}" font-size="11">{100 * one.corrected:.0f} '
        f'<tspan fill="#667">({100 * one.low:.0f} to {100 * one.high:.0f})</tspan></text>'
    )


def _mark(x: float, y: int) -> str:
    return f'<rect x="{x - 1.5:.1f}" y="{y - 8}" width="3" height="16" fill="{_CORRECTED}"/>'


def _dot(x: float, y: int) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{_ANSWERED}"/>'
