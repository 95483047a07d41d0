"""Which sets of replicas are measured, so that every replica counts alike."""

__all__ = ["balanced_sets"]

from itertools import combinations


def balanced_sets(count: int, size: int, rounds: int | None = None) -> list[tuple[int, ...]]:
    """Sets of so many of the first numbers, in which every number stands equally often.

    The sets of a round are those that a shift of all numbers, around the end, makes of each other.

    Args:
        count: how many numbers there are, from 0 on.
        size: how many are in a set.
        rounds: at most so many rounds, evenly among all; all sets if None.

    Returns:
        The sets, each rising, in rising order.

    Raises:
        ValueError: if ``rounds`` is below 1.

    Example:
        >>> balanced_sets(5, 3, 1)
        [(0, 1, 2), (0, 1, 4), (0, 3, 4), (1, 2, 3), (2, 3, 4)]
    """
    if rounds is None:
        return list(combinations(range(count), size))
    if rounds < 1:
        raise ValueError(f"at least one round of sets is measured, got {rounds}")
    every: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for members in combinations(range(count), size):
        shifts = [tuple(sorted((member + by) % count for member in members)) for by in range(count)]
        every.setdefault(min(shifts), []).append(members)
    kept, orbits = min(rounds, len(every)), list(every.values())
    # Evenly among all: rounds that follow each other have the same neighbours.
    return sorted(members for at in range(kept) for members in orbits[at * len(orbits) // kept])
