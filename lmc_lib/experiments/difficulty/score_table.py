"""A table of scores: one row an example, one column a score of an architecture."""

__all__ = ["SCORES", "ScoreTableSpec"]

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lmc_lib import data
from lmc_lib.experiments.difficulty import scores as scoring
from lmc_lib.experiments.loaded import dataset
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits

# The scores of a table: one of each family of near copies, and those of which there are no copies.
SCORES = (
    "mean accuracy", "mean confidence", "mean loss", "mean el2n", "mean logit_margin", "final loss", "variability",
    "forgetting", "iteration_learned", "early el2n", "early grand", "vog", "prediction_depth", "prototype_distance",
)  # fmt: skip


@dataclass(frozen=True)
class ScoreTableSpec(Spec):
    """All that defines a table of scores: the mean over networks of each score, one row an example.

    Attributes:
        scored: the networks of each architecture.
        names: the scores; an architecture without one of them has no such column.
        digits: significant digits of a score.
    """

    kind: ClassVar[str] = "ScoreTableSpec"
    noun: ClassVar[str] = "tables of scores"

    scored: tuple[tuple[scoring.ScoresSpec, ...], ...]
    names: tuple[str, ...] = SCORES
    digits: int = 4

    @property
    def label(self) -> str:
        """The architectures."""
        return ", ".join(each[0].label for each in self.scored)

    def compute(self, store: Store) -> Result:
        """Averages the scores of each architecture."""
        spec = self.scored[0][0].run.data
        loaded, places = dataset(spec), data.positions(spec)
        parts = {sample: getattr(loaded, sample).labels for sample in scoring.SAMPLES}
        table: dict[str, list[Any]] = {
            "sample": [scoring.SAMPLES[sample] for sample, labels in parts.items() for _ in labels],
            "position": [int(row) for sample in parts for row in places[sample]],
            "label": [int(label) for labels in parts.values() for label in labels],
        }
        for specs in self.scored:
            found = scoring.read(store, specs)
            for name in [each for each in self.names if each in found.names]:
                values = np.concatenate([found.means(sample, [name])[0] for sample in parts])
                table[f"{specs[0].label}: {name}"] = digits(values, self.digits)
        return Result({"table": table})
