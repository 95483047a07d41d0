"""Lower layers of some networks stitched to upper layers of others: what is lost, and how far apart the layers are."""

__all__ = ["StitchSpec", "Stitches"]

import functools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from lmc_lib import connectivity, similarity, state, surgery
from lmc_lib.data import Dataset, DataSpec
from lmc_lib.experiments.found import Record
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.stacks import StackSpec
from lmc_lib.hyperparameters import TrainConfig
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec, obtain
from lmc_lib.values import columns, digits, or_none

# What a part of each network gives to the examples of each split.
_Features = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class StitchSpec(Spec):
    """All that defines how well the lower layers of some networks serve others.

    A pair has its upper layers from one of the last networks of ``tops`` and its lower layers from one of the first of
    ``bottoms``, in their order, or from one of the last again. Behind each hidden layer of the upper network they are
    joined by the affine map that is nearest by least squares on the training examples, and sees no label; the lower
    layer is the one at the same share of the depth, rounded up. It measures, a row a hidden layer and a column a pair:
    ``stitched``, by ``"SPLIT QUANTITY"``; ``trained``, the same after the stitches were trained on the labels, where
    they are; and ``angles``, the angular CKA (radians) of the two layers on the test examples. ``own`` has the scores
    of the upper networks as they are, one a pair. None stands where a training diverged, and for the angle of a layer
    none of whose units is ever active.

    Attributes:
        tops: networks that give the upper layers.
        bottoms: networks that give the lower layers; None for the images themselves.
        data: the examples.
        pairs: how many there are.
        training: of the stitches, beside those of least squares; none if None.
        last: whether the last of ``bottoms`` give the lower layers: where they are ``tops``, networks get their own.
    """

    kind: ClassVar[str] = "Stitches"
    noun: ClassVar[str] = "sets of stitched networks"

    tops: StackSpec
    bottoms: StackSpec | None
    data: DataSpec
    pairs: int
    training: TrainConfig | None = None
    last: bool = False

    def __post_init__(self) -> None:
        for what, stack in (("upper", self.tops), ("lower", self.bottoms)):
            if stack is not None and stack.networks < self.pairs:
                raise ValueError(f"{self.pairs} pairs need as many {what} networks, got {stack.networks}")

    @property
    def label(self) -> str:
        """The upper networks in short."""
        return self.tops.label

    def compute(self, store: Store) -> Result:
        """Stitches every pair behind every hidden layer."""
        loaded, network = dataset(self.data), self.tops.network.to(self._dtype)
        uppers, lowers = self._last(store, self.tops), self._lowers(store)
        inputs = {split: each.expand(self.pairs, *each.shape) for split, each in self._inputs(loaded).items()}
        rows = [self._behind(place, loaded, uppers, lowers) for place in range(len(_hidden(network)))]
        return Result({"own": _scores(network, uppers, inputs, loaded), **columns(rows)})

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.tops.run.train.precision == "portable" else torch.float32

    def _inputs(self, loaded: Dataset) -> _Features:
        return {"train": loaded.train.inputs.to(self._dtype), "test": loaded.test.inputs.to(self._dtype)}

    def _last(self, store: Store, stack: StackSpec) -> State:
        """The last networks of a stack, as many as there are pairs."""
        return {name: each[-self.pairs :].to(self._dtype) for name, each in obtain(store, stack).tensors.items()}

    def _lowers(self, store: Store) -> State | None:
        """The networks that give the lower layers."""
        if self.bottoms is None:
            return None
        if self.last:
            return self._last(store, self.bottoms)
        stack = obtain(store, self.bottoms).tensors
        return {name: each[: self.pairs].to(self._dtype) for name, each in stack.items()}

    def _behind(self, place: int, loaded: Dataset, uppers: State, lowers: State | None) -> dict[str, Any]:
        """What is measured of all pairs behind a hidden layer of the upper networks."""
        (below, above), depth = _cut(self.tops, place, self._dtype), len(_hidden(self.tops.network))
        targets = self._given(below, uppers, loaded)
        sources = self._lower((place + 1) / depth, loaded, lowers)
        stitches = state.stacked([_stitch(*each) for each in zip(sources["train"], targets["train"], strict=True)])

        def scores(of: State) -> dict[str, Any]:
            joined = {split: torch.vmap(surgery.through)(of, each) for split, each in sources.items()}
            return _scores(above, uppers, joined, loaded)

        angles = [_angle(*each) for each in zip(sources["test"], targets["test"], strict=True)]
        values: dict[str, Any] = or_none(digits({"angles": np.array(angles)}, 6)) | {"stitched": scores(stitches)}
        if self.training is not None:
            trained = surgery.train_stitches(
                stitches, sources["train"], above, uppers, loaded.train.labels, self.training, seeds=range(self.pairs)
            )
            values["trained"] = scores(trained)
        return values

    def _lower(self, depth: float, loaded: Dataset, lowers: State | None) -> _Features:
        """What the lower layers give, at a share of their depth."""
        if self.bottoms is None or lowers is None:
            pixels = {split: each.flatten(1) for split, each in self._inputs(loaded).items()}
            return {split: each.expand(self.pairs, *each.shape) for split, each in pixels.items()}
        place = math.ceil(depth * len(_hidden(self.bottoms.network)) - 1e-9) - 1
        below, _ = _cut(self.bottoms, place, self._dtype)
        return self._given(below, lowers, loaded)

    @torch.no_grad()
    def _given(self, part: nn.Module, weights: State, loaded: Dataset) -> _Features:
        given = torch.vmap(partial(state.apply, part), in_dims=(0, None))
        return {split: given(weights, each) for split, each in self._inputs(loaded).items()}


@functools.cache  # kinds of lower layers have their upper networks in common
def _cut(stack: StackSpec, place: int, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """The networks of a stack cut behind a hidden layer."""
    network = stack.network.to(dtype)
    return surgery.cut(network, _hidden(network)[place])


def _hidden(network: nn.Module) -> list[str]:
    """The names of the activation functions of a perceptron, each of which ends a hidden layer."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.ReLU)]


def _stitch(source: Tensor, target: Tensor) -> State:
    """The stitch of least squares; NaN where a network diverged."""
    if _finite(source, target):
        return surgery.least_squares(source, target)
    return {"weight": target.new_full((target.shape[1], source.shape[1]), math.nan), "bias": target[0] * math.nan}


def _angle(first: Tensor, second: Tensor) -> float:
    """The angular CKA; NaN where a network diverged or a layer is the same for all examples, no unit ever active."""
    dead = any(bool((each == each[:1]).all()) for each in (first, second))
    return math.nan if dead or not _finite(first, second) else similarity.angular_cka(first, second)


def _finite(*features: Tensor) -> bool:
    return all(bool(each.isfinite().all()) for each in features)


@torch.no_grad()
def _scores(part: nn.Module, weights: State, features: _Features, loaded: Dataset) -> dict[str, Any]:
    """Loss and error of each pair by ``"SPLIT QUANTITY"``."""
    found: dict[str, list[float]] = {}
    for split, examples in (("train", loaded.train), ("test", loaded.test)):
        logits = torch.vmap(partial(state.apply, part))(weights, features[split]).double()
        scores = [connectivity.score(each, examples.labels) for each in logits]
        found[f"{split} loss"] = [each.loss for each in scores]
        found[f"{split} error"] = [
            each.error if _finite(of) else math.nan for each, of in zip(scores, logits, strict=True)
        ]
    stored: dict[str, Any] = or_none(digits(found, 6))
    return stored


@dataclass(frozen=True)
class Stitches(Record):
    """What ``StitchSpec`` measured; a row a hidden layer, a column a pair, NaN where a training diverged."""

    def scores(self, of: str = "test error", *, trained: bool = False) -> Float[ndarray, "layers pairs"]:
        """The scores of stitched networks, by ``"SPLIT QUANTITY"``."""
        return self.of("trained" if trained else "stitched", of)

    def penalty(self, of: str = "test error", *, trained: bool = False) -> Float[ndarray, "layers pairs"]:
        """The same less those of the upper networks as they are."""
        lost: ndarray = self.scores(of, trained=trained) - self.of("own", of)
        return lost
