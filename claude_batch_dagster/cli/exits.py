"""Exit codes beside click's own: 0 for done, 1 for a problem, 2 for wrong usage."""

NOT_KNOWN_YET = 3
"""The API cannot tell yet: come again later."""
