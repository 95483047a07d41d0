"""Small systems whose learning, or whose end, is known exactly: gradient descent and flow beside closed forms."""

__all__ = [
    "REGULARISERS", "Descent", "Landscape", "autoencoder", "composition", "critical", "curvature", "descend", "filters",
    "groups", "hidden_layer", "magnitudes", "margins", "modular_addition", "neuron", "normalised", "planted",
    "sequences", "stairs", "stationary", "two_layers", "two_rules",
]  # fmt: skip

from lmc_lib.flow import (
    autoencoder,
    composition,
    critical,
    curvature,
    filters,
    groups,
    hidden_layer,
    magnitudes,
    margins,
    modular_addition,
    neuron,
    normalised,
    planted,
    sequences,
    stairs,
    stationary,
    two_layers,
    two_rules,
)
from lmc_lib.flow.autoencoder import REGULARISERS, Landscape
from lmc_lib.flow.descent import Descent, descend
