"""The scores of several networks, by sample and by name."""

__all__ = ["Stacks"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.difficulty.subsets import mean_over_replicates


@dataclass(frozen=True)
class Stacks:
    """The scores of several networks, higher meaning harder.

    Attributes:
        names: the scores.
        values: for each sample, such as in-sample examples, an array of shape ``(replicates, scores, examples)``.
        predictions: for each sample the class that each network gives each example at last.
        diverged: which networks have no scores, since their training diverged.
    """

    names: tuple[str, ...]
    values: dict[str, ndarray]
    predictions: dict[str, ndarray]
    diverged: tuple[int, ...] = ()

    def stack(self, sample: str, name: str) -> Float[ndarray, "replicates examples"]:
        """One score by all networks.

        Raises:
            KeyError: if the sample or the score is unknown.
        """
        if sample not in self.values or name not in self.names:
            raise KeyError(
                f"no score {name!r} of the sample {sample!r}; there are {', '.join(self.names)} of "
                f"{' and '.join(self.values)}"
            )
        return np.asarray(self.values[sample][:, self.names.index(name)])

    def means(self, sample: str, names: Sequence[str] | None = None) -> Float[ndarray, "scores examples"]:
        """The mean of each score over the networks; of all scores if none is named."""
        chosen = self.names if names is None else names
        return np.stack([mean_over_replicates(self.stack(sample, name)) for name in chosen])
