"""What symmetries of a network conserve under gradient flow, and what training by finite steps makes of it."""

__all__ = [
    "ECD", "FAMILIES", "LAWS", "SGD", "Charge", "Conserving", "Follower", "Law", "Motion", "OnSphere", "RMSProp",
    "apart", "asymmetric", "discrete_law", "effective_steps", "fourth_power", "generator", "gradient_flow", "heads",
    "inhomogeneous", "inner", "left_out", "of_chain", "on_sphere", "order", "oscillator", "predicted",
    "squared_gradients", "value", "with_epsilon",
]  # fmt: skip

from lmc_lib.charges import heads
from lmc_lib.charges.directions import apart, effective_steps, fourth_power, left_out, squared_gradients
from lmc_lib.charges.energy import ECD, Conserving
from lmc_lib.charges.laws import LAWS, SGD, Law, discrete_law, gradient_flow, order, oscillator, predicted
from lmc_lib.charges.motion import Follower, Motion
from lmc_lib.charges.sphere import OnSphere, RMSProp, on_sphere
from lmc_lib.charges.symmetries import (
    FAMILIES,
    Charge,
    asymmetric,
    generator,
    inhomogeneous,
    inner,
    of_chain,
    value,
    with_epsilon,
)
