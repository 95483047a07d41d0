"""Small systems whose learning is solved exactly, or predicted: gradient descent beside closed forms."""

__all__ = [
    "REGULARISERS", "Descent", "Landscape", "autoencoder", "composition", "critical", "descend", "groups", "two_layers",
]  # fmt: skip

from lmc_lib.flow import autoencoder, composition, critical, groups, two_layers
from lmc_lib.flow.autoencoder import REGULARISERS, Landscape
from lmc_lib.flow.descent import Descent, descend
