"""What symmetries of a network conserve under gradient flow, and what training by finite steps makes of it."""

__all__ = [
    "FAMILIES", "LAWS", "SGD", "Charge", "Follower", "Law", "Motion", "asymmetric", "discrete_law",
    "generator", "gradient_flow", "gram", "heads", "of_chain", "order", "oscillator", "predicted", "value",
    "with_epsilon",
]  # fmt: skip

from lmc_lib.charges import heads
from lmc_lib.charges.laws import LAWS, SGD, Law, discrete_law, gradient_flow, order, oscillator, predicted
from lmc_lib.charges.motion import Follower, Motion
from lmc_lib.charges.symmetries import (
    FAMILIES,
    Charge,
    asymmetric,
    generator,
    gram,
    of_chain,
    value,
    with_epsilon,
)
