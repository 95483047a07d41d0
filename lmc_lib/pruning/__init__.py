"""Pruning: masks as values, iterative magnitude pruning with rewinding, and pruning before training by saliency."""

__all__ = [
    "SCORES", "EmptyLayer", "Level", "Masks", "Method", "Objective", "compressed", "connected", "dense", "density",
    "full_masks", "gradient", "gradient_flow", "highest", "imbalances", "iterative_pruning", "layer_totals",
    "magnitude_masks", "mean_loss", "overlap", "saliency", "shuffled", "synaptic_flow",
]  # fmt: skip

from lmc_lib.pruning.conservation import imbalances, layer_totals
from lmc_lib.pruning.magnitude import Level, dense, iterative_pruning, magnitude_masks
from lmc_lib.pruning.masks import EmptyLayer, Masks, density, full_masks, highest, overlap, shuffled
from lmc_lib.pruning.methods import SCORES, Method, compressed, connected
from lmc_lib.pruning.objectives import Objective, gradient, gradient_flow, mean_loss, saliency, synaptic_flow
