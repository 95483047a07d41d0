"""How far networks can be pruned before training until a layer is empty, or all paths through them are gone."""

__all__ = ["CollapseSpec", "evidence"]

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import ClassVar

import numpy as np

from lmc_lib import charges, pruning, rng
from lmc_lib.claims import Estimate, estimate_of_mean
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.loaded import dataset
from lmc_lib.experiments.networks.runs import OfStart, architecture, drawn_start
from lmc_lib.experiments.networks.saliency import scored
from lmc_lib.pruning import EmptyLayer, Method
from lmc_lib.store import Result, Store
from lmc_lib.values import digits


@dataclass(frozen=True)
class CollapseSpec(OfStart):
    """All that defines how far methods can prune a network at its random start.

    It measures, as logarithms to base 10, ``critical``, by method and ``"layers"`` or ``"paths"``: the highest
    compression, of those tested, at which no layer is empty, or a path leads from an input to an output, 0 if there is
    none; and ``highest``, that at which one weight a layer is left, or if layers may be empty those of the shortest
    path.

    Attributes:
        run: the network, of which the start counts, without normalisation or with that over batches.
        methods: the methods.
        compressions: the compressions that are tested, rising, and besides them the highest one.
        homogeneous: whether the network has rectifiers; otherwise softsign stands in their place.
        examples: the number of training examples by which some methods score.
        empty: whether layers may be empty, as in a residual network, in which a path may be left all the same. Then one
            weight a layer is tested too, up to which methods by layer go, that leave a weight in each.
    """

    kind: ClassVar[str] = "CollapseSpec"
    noun: ClassVar[str] = "collapses"

    methods: tuple[Method, ...]
    compressions: tuple[float, ...]
    homogeneous: bool = True
    examples: int = 100
    empty: bool = False

    def compute(self, store: Store) -> Result:
        """Prunes the start by each method."""
        network = architecture(self.run)
        masks = pruning.full_masks(drawn_start(self.run, network))
        shape = dataset(self.run.data).input_shape
        fewest = pruning.shortest_path(network, shape) if self.empty else len(masks)
        total = sum(mask.numel() for mask in masks.values())
        highest, by_layer = total / fewest, total / len(masks)
        tested = sorted({*(each for each in self.compressions if each < highest), by_layer, highest})
        critical = {
            method.label: self._critical(method, [each for each in tested if each <= by_layer or not method.by_layer])
            for method in self.methods
        }
        return Result({"critical": critical, "highest": digits(log10(highest))})

    def _critical(self, method: Method, tested: Sequence[float]) -> dict[str, float]:
        plain, batch, found = architecture(self.run), scored(self.run, self.examples), {"layers": 0.0, "paths": 0.0}
        network, start = plain if self.homogeneous else charges.inhomogeneous(plain), drawn_start(self.run, plain)
        for compression in reversed(tested):
            stream, decades = rng.stream(self.run.init_seed, "pruning"), digits(log10(compression))
            # Where a path is found already only layers are asked for, and the first empty one answers.
            empty = self.empty and not found["paths"]
            try:
                masks = pruning.compressed(method, network, start, batch, compression, generator=stream, empty=empty)
            except EmptyLayer:
                continue
            whole = {
                "layers": all(bool(mask.any()) for mask in masks.values()),
                "paths": pruning.connected(network, masks, batch.inputs.shape[1:]),
            }
            found |= {what: max(found[what], decades) for what, holds in whole.items() if holds}
            if all(found.values()):
                return found
        return found


def evidence(found: Found, softsign: Found, methods: Sequence[Method], ours: Method) -> dict[str, Estimate]:
    """The estimates for how far networks can be compressed, means over networks.

    Args:
        found: what pruning makes of each start.
        softsign: what iterated SynFlow makes of the same starts with softsign in place of rectifiers.
        methods: the methods that were compared, among them SynFlow and SNIP in the same number of iterations.
        ours: the one that is judged, iterated SynFlow but for a control.

    Returns:
        ``"reached"``: the logarithm of our critical compression, by paths, by that of the highest one. In decades by
        how much our critical compression is higher: ``"ahead"``, by paths, than the best other method that scores once;
        ``"ahead layers"``, by layers, than the best of them that does so over all layers at once; ``"iterated"``, by
        paths, than that of iterated SNIP; ``"softsign"``, by paths, than that of iterated SynFlow with softsign.
    """
    paths = {each.label: found.of("critical", each.label, "paths") for each in methods}
    layers = {each.label: found.of("critical", each.label, "layers") for each in methods}
    once = [each for each in methods if each.iterations == 1 and each != ours]
    flow, snip = (Method(score, max(each.iterations for each in methods)).label for score in ("synflow", "snip"))
    values = {
        "reached": paths[ours.label] / found.of("highest"),
        "ahead": paths[ours.label] - np.max([paths[each.label] for each in once], axis=0),
        "ahead layers": layers[ours.label] - np.max([layers[each.label] for each in once if not each.by_layer], axis=0),
        "iterated": paths[ours.label] - paths[snip],
        "softsign": paths[ours.label] - softsign.of("critical", flow, "paths"),
    }
    return {name: estimate_of_mean(each) for name, each in values.items()}
