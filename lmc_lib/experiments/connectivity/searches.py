"""What searches for a permutation see: the same pair of networks matched in many ways."""

__all__ = ["SEARCHES", "MatchingsSpec", "by_samples", "evidence"]

from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Float
from numpy import ndarray

from lmc_lib import symmetry
from lmc_lib.alignment import Lines, Setting
from lmc_lib.claims import Estimate
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.measurement import PairMeasurement
from lmc_lib.experiments.setting import setting
from lmc_lib.state import State
from lmc_lib.symmetry import Permutation
from lmc_lib.values import digits, rounded, share

# Name of each search and what it is, in the order of the page.
SEARCHES = {
    "weights": "weights, from the identity",
    "weights again": "weights, another order of the layers",
    "weights, random start": "weights, from a random permutation",
    "weights, other random start": "weights, from another random permutation",
    "weights, cosine": "weights, by angle alone",
    "activations": "activations, by correlation",
    "activations, other examples": "activations, other examples",
    "activations, inner product": "activations, by inner product",
    "random": "a random permutation",
}

# The searches whose agreement is told by the size of weights.
_BY_SIZE = (
    ("weights", "activations"), ("weights", "weights, cosine"), ("activations", "activations, other examples"),
)  # fmt: skip


@dataclass(frozen=True)
class MatchingsSpec(PairMeasurement):
    """All that defines the matchings of a pair.

    It measures ``barriers`` by search, or ``"none"``, and by split and quantity; ``agreement``, a matrix of the shares
    of units that two searches send to the same unit; ``fixed_points`` by search; ``chance``, the share of units on
    which two random permutations agree, on average; ``by_size``, the agreement of two searches, ``"first | second"``,
    on the target's units, from those with the smallest weights to the largest; and by number of examples ``samples``:
    the ``agreement`` with all examples, and the ``barrier`` in test error.

    Attributes:
        samples: numbers of examples from which activation matching is repeated.
        bins: equal parts into which units are sorted by the size of their weights.
        points: points on each line, the two ends included.
    """

    kind: ClassVar[str] = "MatchingsSpec"
    noun: ClassVar[str] = "matched pairs"

    samples: tuple[int, ...] = (16, 64, 256)
    bins: int = 5
    points: int = 11
    matching_examples: int = field(default=512, kw_only=True)

    def setting(self) -> Setting:
        """With twice as many examples for matching, so that activations can be matched on two sets that share none."""
        examples = (self.train_examples, self.test_examples, 2 * self.matching_examples, self.reset_examples)
        return setting(self.runs[0], *examples)

    def measure(self, here: Setting, target: State, source: State) -> dict[str, Any]:
        """Matches the two networks in many ways and compares the permutations and the barriers."""
        found = self._searches(here, target, source)
        lines = Lines(here, target, source, self.points)
        barriers = {"none": lines.barriers(symmetry.identity(here.permutations))}
        barriers |= {name: lines.barriers(permutation) for name, permutation in found.items()}
        samples = {}
        for count in self.samples:
            generator, inputs = self.stream("limits", f"samples {count}"), here.matching_inputs[:count]
            few = here.match("activations", target, source, generator=generator, inputs=inputs)
            agreement = share(symmetry.agreement(few, found["activations"]))
            samples[str(count)] = {"agreement": agreement, "barrier": rounded(lines.barriers(few)["test error"])}
        sizes = symmetry.unit_norms(target, here.permutations)
        by_size = {(a, b): symmetry.agreement_by_size(found[a], found[b], sizes, self.bins) for a, b in _BY_SIZE}
        return {
            "barriers": digits(barriers),
            "agreement": [[share(symmetry.agreement(a, b)) for b in found.values()] for a in found.values()],
            "fixed_points": {name: share(symmetry.fixed_points(each)) for name, each in found.items()},
            "chance": share(symmetry.chance_agreement(here.permutations)),
            "by_size": {f"{a} | {b}": [share(each) for each in parts] for (a, b), parts in by_size.items()},
            "samples": samples,
        }

    def _searches(self, here: Setting, target: State, source: State) -> dict[str, Permutation]:
        def matched(name: str, method: str = "weights", **options: Any) -> Permutation:
            return here.match(method, target, source, generator=self.stream("limits", name), **options)

        inputs = here.matching_inputs
        first, second = inputs[: self.matching_examples], inputs[self.matching_examples :]
        return {
            "weights": matched("weights"),
            "weights again": matched("weights again"),
            "weights, random start": matched("random start", start="random"),
            "weights, other random start": matched("other random start", start="random"),
            "weights, cosine": matched("cosine", kernel="cosine"),
            "activations": matched("activations", "activations", inputs=first),
            "activations, other examples": matched("other examples", "activations", inputs=second),
            "activations, inner product": matched("inner", "activations", inputs=first, kernel="inner_product"),
            "random": symmetry.random(here.permutations, generator=self.stream("limits", "random")),
        }


def by_samples(found: Found, what: str) -> dict[int, Float[ndarray, " pairs"]]:
    """By number of examples: ``"agreement"`` with all examples, or ``"barrier"`` in test error."""
    return {int(count): found.of("samples", count, what) for count in found.shared("samples")}


def evidence(found: Found, first: str, second: str) -> dict[str, Estimate]:
    """The estimates that the criterion asks for, from barriers in test error.

    Returns:
        ``"raw"``: the median barrier without a permutation; ``"excess"``: the median, over pairs, of the barrier of the
        ``first`` search, which is expected to be the higher one, minus that of the ``second``.
    """
    raw, higher, lower = (found.of("barriers", name, "test error") for name in ("none", first, second))
    return found.estimates({"raw": raw, "excess": higher - lower})
