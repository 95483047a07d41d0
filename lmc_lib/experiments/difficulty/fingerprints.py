"""Which architecture a network has, told from a few examples: a summary of the scores of several architectures."""

__all__ = ["FingerprintSpec", "Fingerprints", "evidence"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib import difficulty, rng
from lmc_lib.claims import Estimate, estimate_by_jackknife
from lmc_lib.experiments.difficulty.pictures import NamesExamples
from lmc_lib.experiments.difficulty.scores import ScoresSpec, replicates_of, sound_stacks
from lmc_lib.experiments.found import Record
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import DIGITS, digits


@dataclass(frozen=True)
class FingerprintSpec(NamesExamples):
    """All that defines how well networks are identified.

    Attributes:
        networks: the scores of the first replicate of each architecture; the others have the seeds that follow.
        replicates: networks of each architecture.
        classes: what is to be told of each architecture, as its name or its family.
        sample: ``"train"`` or ``"test"``: examples that the networks were trained on, or held-out ones.
        score: the score that is looked at.
        places: whether to look at the place of an example in the order of all, not at the value of its score.
        sizes: numbers of examples to look at.
        draws: number of random sets of examples to compare with.
        shown: the size of which mistakes and examples are kept.
        shuffled: whether classes are exchanged at random within each replicate, as a control; the mean of as many
            exchanges as there are random sets.
        seed: stream of the random sets and of the exchange.
    """

    kind: ClassVar[str] = "FingerprintSpec"
    noun: ClassVar[str] = "fingerprints"

    networks: tuple[ScoresSpec, ...]
    replicates: int
    classes: tuple[str, ...]
    sample: str = "test"
    score: str = "mean confidence"
    places: bool = False
    sizes: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50)
    draws: int = 20
    shown: int = 10
    shuffled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.networks) or len(set(self.classes)) < 2:
            raise ValueError(f"{len(self.networks)} architectures cannot be told apart as {', '.join(self.classes)}")
        if self.shown not in self.sizes:
            raise ValueError(f"{self.shown} examples are shown, but only {self.sizes} are looked at")

    @property
    def label(self) -> str:
        """What is told apart."""
        return " or ".join(dict.fromkeys(self.classes))

    @property
    def needs(self) -> tuple[Spec, ...]:
        """The scores of all networks."""
        return tuple(spec for each in self._replicates for spec in each)

    @property
    def _replicates(self) -> list[tuple[ScoresSpec, ...]]:
        return [replicates_of(each, self.replicates) for each in self.networks]

    def named(self, values: Mapping[str, Any]) -> list[int]:
        """The examples that were chosen most often."""
        return [place for place, _ in values["examples"][: self.shown]]

    def compute(self, store: Store) -> Result:
        """Identifies every network by the others, from chosen and from random examples."""
        scores = np.stack(sound_stacks(store, self._replicates, self.sample, self.score), axis=1)
        scores = difficulty.places(scores) if self.places else scores
        names = list(dict.fromkeys(self.classes))
        classes = np.tile([names.index(each) for each in self.classes], (len(scores), 1))
        draws, named = range(self.draws), [classes]
        if self.shuffled:
            streams = [rng.numpy_stream(self.seed, "exchange", draw) for draw in draws]
            named = [difficulty.shuffle_classes(classes, rng=stream) for stream in streams]
        runs = [difficulty.cross_identify(scores, each, self.sizes) for each in named]
        found = runs[0]
        random = [self._by_chance(scores, named[draw % len(named)], draw) for draw in draws]
        often = found.most_chosen(self.shown)
        values = {
            "networks": classes.size,
            "names": names,
            "chosen": digits(np.mean([each.accuracy() for each in runs], axis=0)),
            "random": digits(np.mean(random, axis=0)),
            "confusion": digits(found.confusion(self.sizes.index(self.shown))),
            "examples": [list(each) for each in often],
            "plane": digits(scores[..., [example for example, _ in often[:2]]]),
        }
        return Result(values)

    def _by_chance(self, scores: ndarray, classes: ndarray, draw: int) -> ndarray:
        """The accuracies with one random set of examples, the same for all networks."""
        order = rng.numpy_stream(self.seed, "random examples", draw).permutation(scores.shape[-1])
        return difficulty.cross_identify(scores, classes, self.sizes, lambda _, __, count: order[:count]).accuracy()


class Fingerprints(Record):
    """How well networks were identified: what ``FingerprintSpec`` measures.

    The stored values hold by size, one row a replicate, the accuracy from ``"chosen"`` and from ``"random"`` examples;
    the ``"names"`` of the classes; at the size that is shown the ``"confusion"``, for each class the shares of its
    networks that were taken for each class; the ``"examples"`` that were chosen most often, each with the number of
    replicates; and the ``"plane"``: what was seen of every network, by replicate and architecture, on the first two.
    """

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1.0 / len(self.values["names"])

    def curve(self, how: str) -> list[Estimate]:
        """The accuracy by size from ``"chosen"`` or ``"random"`` examples, with intervals over replicates."""
        return [self.mean(of_size) for of_size in self.of(how).T]

    def mean(self, values: Float[ndarray, " replicates"]) -> Estimate:
        """The mean over the replicates that were set aside, with its interval."""
        # What cancels is 0, whichever way the last bits of a processor go.
        value = round(float(values.mean()), DIGITS) + 0.0
        return estimate_by_jackknife(value, (values.sum() - values) / (len(values) - 1))


def evidence(found: Fingerprints, place: int) -> dict[str, Estimate]:
    """The estimates that the criterion asks for at size number ``place``: means over replicates that were set aside.

    Returns:
        ``"ten"``: the accuracy with chosen examples, as share of the way from chance to 1; ``"advantage"``: the same
        less that with random examples.
    """
    chosen, random = ((found.of(how)[:, place] - found.chance) / (1.0 - found.chance) for how in ("chosen", "random"))
    return {"ten": found.mean(chosen), "advantage": found.mean(chosen - random)}
