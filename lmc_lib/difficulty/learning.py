"""Scores of a training, taken in one checkpoint at a time: whatever needs the past is a count or a running moment.

The memory is that of a few numbers an example, whatever the number of checkpoints. Steps are counted in updates: in
checkpoints if all examples are scored at each, in presentations if an example is scored whenever it is in a batch.
"""

__all__ = ["NEVER_LEARNED", "History", "Learning"]

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from lmc_lib import expected
from lmc_lib.difficulty.moments import Moments, checked_rows
from lmc_lib.difficulty.orientation import harder
from lmc_lib.difficulty.predictions import POINTWISE, pointwise

# The count of forgettings of an example that was never right, by who counts so, from the number of its updates.
NEVER_LEARNED: dict[str, Callable[[ndarray], ndarray]] = {
    "updates": lambda updates: updates,  # Toneva et al. 2019: the number of presentations
    "zero": np.zeros_like,  # Kwok et al. 2024: it was never forgotten
    "infinity": lambda updates: np.full_like(updates, np.inf),  # Paul et al. 2021, in their code
    "thousand": lambda updates: np.full_like(updates, 1000.0),  # Swayamdipta et al. 2020, in their code
}


class Learning:
    r"""When each example was right: counts over :math:`a_s \in \{0, 1\}`, for :math:`s = 0, \dots, T - 1`.

    Over the layers of a network instead of steps of a training, the same counts give the prediction depth; over the
    levels of pruning, what is unlearned and when.

    Args:
        examples: number of examples.

    Example:
        >>> learning = Learning(3)
        >>> for right in ([1, 0, 0], [0, 0, 1], [1, 0, 1]):
        ...     learning.update(np.array(right, dtype=bool))
        >>> learning.forgetting().tolist(), learning.first_learned().tolist(), learning.iteration_learned().tolist()
        ([1.0, 3.0, 0.0], [0.0, 3.0, 1.0], [2.0, 3.0, 1.0])
    """

    def __init__(self, examples: int) -> None:
        # By state, wrong and right: the first and the last step at which an example was in it, -1 if never.
        self._first, self._last = (np.full((2, examples), -1, dtype=np.int64) for _ in range(2))
        self._updates, self._right, self._forgotten = (np.zeros(examples, dtype=np.int64) for _ in range(3))

    def update(self, right: Bool[ndarray, " rows"], rows: Int[ndarray, " chosen"] | None = None) -> None:
        """Takes in one more step.

        Args:
            right: whether each example was classified correctly.
            rows: which examples these are, if not all in their order; each at most once.

        Raises:
            ValueError: if rows and values do not fit.
        """
        rows = checked_rows(len(self._updates), len(right), rows)
        now = self._updates[rows]
        # An example that was right at the step before was last right then. Before the first step it counts as wrong.
        before = (self._last[1, rows] == now - 1) & (now > 0)
        self._forgotten[rows] += before & ~right
        self._right[rows] += right
        state = right.astype(int)
        self._last[state, rows] = now
        self._first[state, rows] = np.where(self._first[state, rows] < 0, now, self._first[state, rows])
        self._updates[rows] += 1

    def taken(self, rows: Int[ndarray, " chosen"]) -> "Learning":
        """A copy for these examples in this order; -1 stands for a new one, without updates."""
        result = Learning(len(rows))
        known = rows >= 0
        for name in ("_first", "_last", "_updates", "_right", "_forgotten"):
            getattr(result, name)[..., known] = getattr(self, name)[..., rows[known]]
        return result

    def updates(self) -> Int[ndarray, " examples"]:
        """The number of steps of each example."""
        return self._updates.copy()

    def correctness(self) -> Float[ndarray, " examples"]:
        """The number of steps at which an example was right."""
        return self._counted(self._right)

    def never_learned(self) -> Bool[ndarray, " examples"]:
        """Whether an example was wrong at every step; by some conventions it has no count of forgettings."""
        never: ndarray = self._counted(self._right) == 0
        return never

    def forgetting(self, never: str = "updates") -> Float[ndarray, " examples"]:
        """The number of steps from right to wrong (Toneva et al. 2019).

        Args:
            never: the count of examples that were never right, one of ``NEVER_LEARNED``: ``"updates"``, their number of
                steps; ``"zero"``, which ranks the hardest examples among the easiest; ``"infinity"``; ``"thousand"``.

        Raises:
            ValueError: if the convention is unknown, or an example had no update.
        """
        if never not in NEVER_LEARNED:
            raise ValueError(f"unknown convention {never!r} for never-learned examples: {', '.join(NEVER_LEARNED)}")
        counts = self._counted(self._forgotten)
        return np.where(self.never_learned(), NEVER_LEARNED[never](self._updates.astype(float)), counts)

    def unforgettable(self) -> Float[ndarray, " examples"]:
        """1 for examples that were learned and never forgotten (Toneva et al. 2019), else 0."""
        kept: ndarray = (self._forgotten == 0) & ~self.never_learned()
        return kept.astype(float)

    def first_learned(self) -> Float[ndarray, " examples"]:
        r"""The first :math:`s` with :math:`a_s = 1`; :math:`T` if there is none."""
        return self._first_in(1)

    def iteration_learned(self) -> Float[ndarray, " examples"]:
        r"""The first :math:`s` from which an example is always right (Baldock et al. 2021).

        0 if it was right at every step, :math:`T` if it was wrong at the last.
        """
        return self._first_always_not(0)

    def first_forgotten(self) -> Float[ndarray, " examples"]:
        """The first step at which an example was wrong, the mirror image of ``first_learned``, for pruning."""
        return self._first_in(0)

    def iteration_unlearned(self) -> Float[ndarray, " examples"]:
        """The first step from which an example is always wrong, the mirror image of ``iteration_learned``."""
        return self._first_always_not(1)

    def _first_always_not(self, state: int) -> ndarray:
        steps: ndarray = self._counted(self._last[state]) + 1.0
        return steps

    def _first_in(self, state: int) -> ndarray:
        first = self._counted(self._first[state])
        return np.where(first < 0, self._updates, first)

    def _counted(self, counts: ndarray) -> ndarray:
        if (missing := self._updates == 0).any():
            raise ValueError(f"there is nothing to count yet: example {int(missing.argmax())} had no update")
        return counts.astype(float)


class History:
    """All scores of a training that follow from logits, from one checkpoint at a time.

    Args:
        labels: class of each example.
        names: the scores of single steps whose mean, deviation and final value are kept, of ``POINTWISE``; 32 bytes an
            example each.

    Raises:
        ValueError: if a score is unknown, or a label is no whole number from 0.
    """

    def __init__(self, labels: Int[Tensor, " examples"], names: Collection[str] = tuple(POINTWISE)) -> None:
        if unknown := [name for name in names if name not in POINTWISE]:
            raise ValueError(f"unknown score {unknown[0]!r}; those of one network's logits are {', '.join(POINTWISE)}")
        self._labels = expected.labels(labels, examples=len(labels))
        self._moments = {name: Moments(len(labels)) for name in names}
        self._final = {name: np.zeros(len(labels)) for name in names}
        self.learning = Learning(len(labels))

    def update(self, logits: Float[Tensor, "rows classes"], rows: Int[Tensor, " chosen"] | None = None) -> None:
        """Takes in the logits of one checkpoint, or of one batch while it is trained on.

        Args:
            logits: of all examples in their order, or of some.
            rows: which examples these are, if not all; each at most once.

        Raises:
            ValueError: as for ``pointwise``, and if rows and logits do not fit.
        """
        places = checked_rows(len(self._labels), len(logits), None if rows is None else rows.cpu().numpy())
        labels = self._labels if rows is None else self._labels[rows.to(self._labels.device)]
        # All of them are computed before any is kept, so that an error leaves the history as it was.
        values = pointwise(logits, labels, {"accuracy", *self._moments})
        for name, moments in self._moments.items():
            moments.update(values[name], places)
            self._final[name][places] = values[name]
        self.learning.update(values["accuracy"] == 1.0, places)

    def taken(self, rows: Int[ndarray, " chosen"], labels: Int[Tensor, " chosen"]) -> "History":
        """A copy for these examples, with their labels, in this order; -1 stands for a new one, without updates."""
        result = History(labels, list(self._moments))
        result._moments = {name: moments.taken(rows) for name, moments in self._moments.items()}
        known = rows >= 0
        for name, values in self._final.items():
            result._final[name][known] = values[rows[known]]
        result.learning = self.learning.taken(rows)
        return result

    def mean(self, name: str) -> Float[ndarray, " examples"]:
        """The mean of a score over the training; of ``"logit_margin"`` it is the AUM (Pleiss et al. 2020).

        Raises:
            ValueError: if the score is not kept, or an example had no update.
        """
        mean = self._of(name).mean()
        # A running mean is rounded at each step: the same number of right answers in another order would be another
        # value, and ranks would depend on it. A count is exact.
        return self.learning.correctness() / self.learning.updates() if name == "accuracy" else mean

    def final(self, name: str) -> Float[ndarray, " examples"]:
        """A score at the last step.

        Raises:
            ValueError: if the score is not kept, or an example had no update.
        """
        self.mean(name)  # raises
        return self._final[name].copy()

    def variability(self, name: str = "confidence") -> Float[ndarray, " examples"]:
        """The standard deviation of a score over the training, as a population (Swayamdipta et al. 2020).

        Raises:
            ValueError: if an example had a single update.
        """
        result: ndarray = np.sqrt(self._of(name).variance(ddof=0))
        return result

    def harder(self, never: str = "updates") -> dict[str, Float[ndarray, " examples"]]:
        """All scores of the training by name, turned so that higher means harder.

        Args:
            never: the convention for examples that were never learned, see ``Learning.forgetting``.

        Raises:
            ValueError: if an example had no update, or a single one where a deviation is asked for.
        """
        scores = {f"mean {name}": self.mean(name) for name in self._moments}
        scores |= {f"final {name}": self.final(name) for name in self._moments}
        if "confidence" in self._moments:
            scores["variability"] = self.variability()
        scores |= {
            "forgetting": self.learning.forgetting(never),
            "first_learned": self.learning.first_learned(),
            "iteration_learned": self.learning.iteration_learned(),
        }
        return {name: harder(name, values) for name, values in scores.items()}

    def _of(self, name: str) -> Moments:
        if name not in self._moments:
            raise ValueError(f"this history does not keep {name!r}, only {', '.join(self._moments)}")
        return self._moments[name]
