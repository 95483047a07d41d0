"""Pruning: masks as values, iterative magnitude pruning with rewinding, and pruning before training by saliency."""

__all__ = [
    "SCORES", "EmptyLayer", "Level", "Masks", "Method", "Objective", "compressed", "connected", "cut_totals",
    "cuts", "dense", "density", "full_masks", "gradient", "gradient_flow", "highest", "imbalances",
    "iterative_pruning", "magnitude_masks", "mean_loss", "on_paths", "overlap", "saliency", "shortest_path", "shuffled",
    "synaptic_flow", "with_shortcut_factors",
]  # fmt: skip

from lmc_lib.pruning.conservation import cut_totals, cuts, imbalances, with_shortcut_factors
from lmc_lib.pruning.magnitude import Level, dense, iterative_pruning, magnitude_masks
from lmc_lib.pruning.masks import EmptyLayer, Masks, density, full_masks, highest, overlap, shuffled
from lmc_lib.pruning.methods import SCORES, Method, compressed, connected, on_paths, shortest_path
from lmc_lib.pruning.objectives import Objective, gradient, gradient_flow, mean_loss, saliency, synaptic_flow
