"""Pauses between attempts. Pure."""

_MAX_DOUBLINGS = 60
"""Far beyond any limit, and short of what a float cannot hold."""


def doubling_s(attempt: int, first_s: float, longest_s: float) -> float:
    """The pause after attempt `attempt`, in seconds: `first_s`, then twice as long each time, up to `longest_s`.

    Args:
        attempt: 1-based number of failed attempts in a row; below 1 counts as 1.
        first_s: the first pause.
        longest_s: upper bound.
    """
    return min(first_s * 2.0 ** min(max(attempt - 1, 0), _MAX_DOUBLINGS), longest_s)
