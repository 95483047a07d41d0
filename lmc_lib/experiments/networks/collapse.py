"""Up to which compression methods of pruning before training leave a network whole, and whether saliency is conserved."""

__all__ = ["CollapseSpec", "evidence", "scored"]

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from lmc_lib import charges, pruning, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.data import Split, batch_order
from lmc_lib.experiments.dynamics.conservation import agreement
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import RunSpec, architecture, drawn_start
from lmc_lib.pruning import EmptyLayer, Method
from lmc_lib.state import State
from lmc_lib.store import Result, Store
from lmc_lib.sweeps import Spec
from lmc_lib.values import digits


@dataclass(frozen=True)
class CollapseSpec(Spec):
    """All that defines what pruning makes of the random start of a network; nothing is trained.

    It measures ``critical``, by method and ``"layers"`` or ``"paths"``: the logarithm to base 10 of the highest
    compression, of those tested, at which no layer is empty, or a path leads from an input to an output, 0 if there is
    none; ``highest``: that at which one weight a layer is left; and with random biases by objective, ``"flow"`` or
    ``"loss"``, ``imbalances`` and ``totals`` of saliencies, ``weights alone`` without biases.

    Attributes:
        run: the network, of which the start counts, a chain without normalisation.
        methods: the methods.
        compressions: the compressions that are tested, rising, and besides them the highest one.
        homogeneous: whether the network has rectifiers; otherwise softsign stands in their place.
        examples: the number of training examples by which some methods score.
    """

    kind: ClassVar[str] = "CollapseSpec"
    noun: ClassVar[str] = "collapses"

    run: RunSpec
    methods: tuple[Method, ...]
    compressions: tuple[float, ...]
    homogeneous: bool = True
    examples: int = 100

    @property
    def needs(self) -> tuple[Spec, ...]:
        """Nothing: the start is drawn here."""
        return ()

    def compute(self, store: Store) -> Result:
        """Prunes the start by each method."""
        chain, batch = architecture(self.run), scored(self.run, self.examples)
        start, network = drawn_start(self.run, chain), chain if self.homogeneous else charges.inhomogeneous(chain)
        masks = pruning.full_masks(start)
        highest = sum(mask.numel() for mask in masks.values()) / len(masks)
        tested = [*(each for each in self.compressions if each < highest), highest]
        critical = {each.label: self._critical(each, network, start, batch, tested) for each in self.methods}
        return Result({"critical": critical, "highest": digits(log10(highest)), **self._conserved(network, start, batch)})

    def _critical(
        self, method: Method, network: nn.Module, start: State, batch: Split, tested: Sequence[float]
    ) -> dict[str, float]:
        found = {"layers": 0.0, "paths": 0.0}
        for compression in reversed(tested):
            stream = rng.stream(self.run.init_seed, "pruning")
            try:
                masks = pruning.compressed(method, network, start, batch, compression, generator=stream)
            except EmptyLayer:
                continue
            found["layers"] = max(found["layers"], digits(log10(compression)))
            if pruning.connected(network, masks, batch.inputs.shape[1:]):
                return found | {"paths": digits(log10(compression))}
        return found

    def _conserved(self, network: nn.Module, start: State, batch: Split) -> dict[str, Any]:
        stream = rng.stream(self.run.init_seed, "biases")
        vectors = {name: value.shape for name, value in start.items() if value.dim() == 1}
        drawn = {name: torch.randn(vectors[name], generator=stream, dtype=torch.float64) for name in sorted(vectors)}
        state = start | {name: 0.1 * drawn[name] for name in drawn}
        objectives = {
            "flow": pruning.synaptic_flow(network, batch.inputs.shape[1:]),
            "loss": pruning.mean_loss(network, batch),
        }
        return {
            "imbalances": {name: digits(pruning.imbalances(network, each, state)) for name, each in objectives.items()},
            "totals": {name: digits(pruning.layer_totals(each, state)) for name, each in objectives.items()},
            "weights alone": {
                name: digits(pruning.layer_totals(each, state, biases=False)) for name, each in objectives.items()
            },
        }


def scored(run: RunSpec, examples: int) -> Split:
    """The training examples by which methods score: so many at random, of a stream of the run."""
    split = dataset(run.data).train
    return split[batch_order(len(split), examples, generator=rng.stream(run.order_seed, "scored"))[0]]


def evidence(found: Found, softsign: Found, methods: Sequence[Method], ours: Method) -> dict[str, Estimate]:
    """The estimates for conservation and collapse, means over networks.

    Args:
        found: what pruning makes of each start.
        softsign: what iterated SynFlow makes of the same starts with softsign in place of rectifiers.
        methods: the methods that were compared, among them SynFlow and SNIP in the same number of iterations.
        ours: the one that is judged, iterated SynFlow but for a control.

    Returns:
        ``"flow"`` and ``"loss"``: the decimal digits, of 12 at most, to which hidden units conserve the saliency of an
        objective; ``"reached"``: the logarithm of our critical compression, by paths, by that of the highest one. In
        decades by how much our critical compression is higher: ``"ahead"``, by paths, than the best other method that
        scores once; ``"ahead layers"``, by layers, than the best of them that does so over all layers at once;
        ``"iterated"``, by paths, than that of iterated SNIP; ``"softsign"``, by paths, than that of iterated SynFlow
        with softsign.
    """
    paths = {each.label: found.of("critical", each.label, "paths") for each in methods}
    layers = {each.label: found.of("critical", each.label, "layers") for each in methods}
    once = [each for each in methods if each.iterations == 1 and each != ours]
    flow, snip = (Method(score, max(each.iterations for each in methods)).label for score in ("synflow", "snip"))
    values = {name: agreement(found.of("imbalances", name).max(1)) for name in ("flow", "loss")} | {
        "reached": paths[ours.label] / found.of("highest"),
        "ahead": paths[ours.label] - np.max([paths[each.label] for each in once], axis=0),
        "ahead layers": layers[ours.label] - np.max([layers[each.label] for each in once if not each.by_layer], axis=0),
        "iterated": paths[ours.label] - paths[snip],
        "softsign": paths[ours.label] - softsign.of("critical", flow, "paths"),
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}
