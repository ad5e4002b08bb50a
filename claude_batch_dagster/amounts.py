"""How numbers of things, and US dollars, are told."""

A_CENT = 0.01


def counted(n: int, one: str, many: str | None = None) -> str:
    """Tell a number of things: `many` are called by adding an s to `one` unless said otherwise."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def dollars(usd: float | None) -> str:
    """Return US dollars, small amounts too."""
    if usd is None:
        return "an unknown price"
    return f"${usd:,.2f}" if usd == 0 or usd >= A_CENT else f"${usd:.6f}"
