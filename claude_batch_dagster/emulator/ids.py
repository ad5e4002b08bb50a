"""Identifiers shaped like the API's own, the same for the same seed."""

from hashlib import blake2b

# Without 0, O, I and l, as the real ids appear to be.
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TAIL = 22


def digest(*parts: object) -> int:
    """Return a 64-bit number that depends on every part and on nothing else."""
    # A separator that no part contains: ("a", "bc") and ("ab", "c") must differ.
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def chance(*parts: object) -> float:
    """Return a number in [0, 1) that depends on every part and on nothing else."""
    return digest(*parts) / 2**64


def identifier(prefix: str, *parts: object) -> str:
    """Return `prefix`, `01` and 22 characters that depend on every part."""
    text = "\x1f".join(map(str, (prefix, *parts)))
    number = int.from_bytes(blake2b(text.encode(), digest_size=18).digest())
    characters = []
    for _ in range(_TAIL):
        number, rest = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[rest])
    return f"{prefix}_01{''.join(characters)}"
