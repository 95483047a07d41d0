"""Small systems, most of them solved exactly: gradient descent beside closed forms."""

__all__ = [
    "REGULARISERS", "Descent", "Landscape", "autoencoder", "critical", "descend", "hidden_layer", "neuron",
    "two_layers",
]  # fmt: skip

from lmc_lib.flow import autoencoder, critical, hidden_layer, neuron, two_layers
from lmc_lib.flow.autoencoder import REGULARISERS, Landscape
from lmc_lib.flow.descent import Descent, descend
