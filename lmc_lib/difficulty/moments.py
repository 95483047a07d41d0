"""Mean and variance of each entry over many updates, in memory that does not grow with their number."""

__all__ = ["Moments", "checked_rows"]

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


class Moments:
    r"""Mean and variance over checkpoints or replicates, by Welford's recurrence.

    :math:`\mu' = \mu + (v - \mu) / n` and :math:`M' = M + (v - \mu)(v - \mu')`, which keeps its digits where the
    difference of two sums of squares loses them. 16 bytes an entry and 8 an example, however many updates.

    Args:
        shape: shape of what is updated; the first axis runs over examples.

    Example:
        >>> moments = Moments(2)
        >>> for values in ([1.0, 5.0], [3.0, 5.0]):
        ...     moments.update(np.array(values))
        >>> moments.mean().tolist(), moments.variance(ddof=1).tolist()
        ([2.0, 5.0], [2.0, 0.0])
    """

    def __init__(self, *shape: int) -> None:
        self._count = np.zeros(shape[:1], dtype=np.int64)
        self._mean, self._squares = np.zeros(shape), np.zeros(shape)

    def update(self, values: Float[ndarray, " rows *entry"], rows: Int[ndarray, " chosen"] | None = None) -> None:
        """Takes in one more value of every example, or of some.

        Args:
            values: the values, one row an example.
            rows: which examples these are, if not all in their order; each at most once.

        Raises:
            ValueError: if rows and values do not fit, or a value is not finite.
        """
        rows = checked_rows(len(self._count), len(values), rows)
        if not np.isfinite(values).all():
            raise ValueError("a value is not finite, and no mean comes back from it: leave this network or score out")
        self._count[rows] += 1
        count = self._count[rows].reshape(-1, *[1] * (values.ndim - 1))
        change = values - self._mean[rows]
        self._mean[rows] += change / count
        self._squares[rows] += change * (values - self._mean[rows])

    def taken(self, rows: Int[ndarray, " chosen"]) -> "Moments":
        """A copy for these examples in this order; -1 stands for a new one, without updates."""
        result = Moments(len(rows), *self._mean.shape[1:])
        known = rows >= 0
        for name in ("_count", "_mean", "_squares"):
            getattr(result, name)[known] = getattr(self, name)[rows[known]]
        return result

    def count(self) -> Int[ndarray, " examples"]:
        """The number of updates of each example."""
        return self._count.copy()

    def mean(self) -> Float[ndarray, " examples *entry"]:
        """The mean over the updates.

        Raises:
            ValueError: if an example had no update.
        """
        self._need(1, "a mean")
        return self._mean.copy()

    def variance(self, *, ddof: int) -> Float[ndarray, " examples *entry"]:
        """The variance over the updates, divided by their number less ``ddof``.

        Args:
            ddof: 1 for the unbiased variance, 0 for that of the population.

        Raises:
            ValueError: if an example had a single update: one value does not vary.
        """
        self._need(2, "a variance")
        divisor = (self._count - ddof).reshape(-1, *[1] * (self._squares.ndim - 1))
        result: ndarray = self._squares / divisor
        return result

    def _need(self, least: int, what: str) -> None:
        if (few := self._count < least).any():
            first = int(few.argmax())
            raise ValueError(
                f"{what} needs at least {least} update{'s' * (least > 1)} of every example; example {first} had "
                f"{self._count[first]}"
            )


def checked_rows(examples: int, values: int, rows: ndarray | None) -> ndarray:
    """The rows that an update is about, all in their order if not given.

    Raises:
        ValueError: if there are not as many as values, or one is no example or stands twice.
    """
    given = np.arange(examples) if rows is None else rows
    if len(given) != values:
        raise ValueError(f"an update of {len(given)} examples needs as many values, got {values}; pass rows for some")
    if len(given) and (given.min() < 0 or given.max() >= examples):
        raise ValueError(f"rows are examples from 0 to {examples - 1}, got {given.min()} to {given.max()}")
    if len(np.unique(given)) != len(given):
        raise ValueError("an example stands twice in one update: update once for each presentation")
    return given
