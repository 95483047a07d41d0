"""Networks that are pruned before training and then trained: what they learn."""

__all__ = ["SHUFFLED", "CompressedSpec", "evidence"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from lmc_lib import connectivity, pruning, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.divergence import measured
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.pruned import trainer
from lmc_lib.experiments.networks.runs import OfStart, RunSpec, architecture, drawn_start
from lmc_lib.experiments.networks.saliency import scored
from lmc_lib.pruning import EmptyLayer, Masks, Method
from lmc_lib.state import State, masked
from lmc_lib.store import Result, Store
from lmc_lib.values import digits, share

# What is added to the label of a method whose masks are shuffled.
SHUFFLED = ", shuffled"


@dataclass(frozen=True)
class CompressedSpec(OfStart):
    """All that defines a network that is pruned before training and then trained.

    It measures the ``accuracy`` on the test set; where no path leads from an input to an output, nothing is trained,
    and the answer is the most frequent class of the training set. ``left``: by layer, from the first to the last, the
    share of weights that stay, empty if a layer would keep none and must not. If ``detailed`` also the ``loss``, the
    mean cross-entropy on the test set in nats, without a path that of the frequencies of the training set as an answer;
    and ``on paths``, of the weights that stay the share that lies on a path.

    Attributes:
        run: the training, without its pruning.
        method: how weights are chosen.
        compression: one of so many weights stays.
        shuffled: whether as many weights of each layer stay at random places instead.
        examples: the number of training examples by which some methods score.
        empty: whether layers may be empty, as in a residual network, in which a path may be left all the same.
        detailed: whether the loss and the share on paths are measured.
    """

    kind: ClassVar[str] = "CompressedSpec"
    noun: ClassVar[str] = "compressed networks"

    method: Method
    compression: float
    shuffled: bool = False
    examples: int = 100
    empty: bool = False
    detailed: bool = False

    @property
    def label(self) -> str:
        """The architecture and the method."""
        return f"{self.run.label}, {self.method.label}{SHUFFLED if self.shuffled else ''}"

    @property
    def updates(self) -> int:
        """Those of the training."""
        return self.run.updates

    def compute(self, store: Store) -> Result:
        """Prunes the start, trains what is left, and evaluates it."""
        return measured((self.run,), self._masked_start, self._values)

    def _masked_start(self, run: RunSpec) -> tuple[State, Masks]:
        network, batch = architecture(run), scored(run, self.examples)
        start, stream = drawn_start(run, network), rng.stream(run.init_seed, "pruning")
        try:
            masks = pruning.compressed(
                self.method, network, start, batch, self.compression, generator=stream, empty=self.empty
            )
        except EmptyLayer:
            return start, {}
        if self.shuffled:
            masks = pruning.shuffled(masks, generator=rng.stream(run.init_seed, "shuffled masks"))
        return masked(start, masks), masks

    def _values(self, found: tuple[State, Masks]) -> dict[str, Any]:
        (start, masks), network, data = found, architecture(self.run), dataset(self.run.data)
        left = [share(float(masks[name].double().mean())) for name in start if name in masks]
        if masks and pruning.connected(network, masks, data.input_shape):
            evaluated = connectivity.evaluate(network, trainer(self.run, 0)(start, masks), data.test)
            accuracy, loss = 1.0 - evaluated.error, evaluated.loss
        else:
            frequencies = torch.bincount(data.train.labels).double() / len(data.train)
            accuracy = float((data.test.labels == frequencies.argmax()).double().mean())
            loss = float(-frequencies[data.test.labels].log().mean())
        values = {"accuracy": share(accuracy), "left": left}
        if not self.detailed:
            return values
        used = pruning.on_paths(network, masks, data.input_shape) if masks else 0.0
        return values | {"loss": digits(loss), "on paths": share(used)}


def evidence(found: Mapping[str, Found], iterations: int) -> dict[str, Estimate]:
    """The estimates for what iterated SynFlow is worth, means over networks.

    Args:
        found: the networks at one compression by the labels of the methods, among them SynFlow in so many iterations,
            and the same with its masks shuffled.
        iterations: the number of iterations.

    Returns:
        ``"gain"``: its accuracy less that of the best other method, of each network the best one; ``"places"``: less
        that with shuffled masks.
    """
    ours = Method("synflow", iterations).label
    accuracy = {label: each.of("accuracy") for label, each in found.items()}
    others = [each for label, each in accuracy.items() if label not in (ours, ours + SHUFFLED)]
    values = {
        "gain": accuracy[ours] - np.max(others, axis=0),
        "places": accuracy[ours] - accuracy[ours + SHUFFLED],
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}
