"""How numbers of things are told."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """Tell a number of things: `many` are called by adding an s to `one` unless said otherwise."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
