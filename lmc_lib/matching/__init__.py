"""Matching of two networks' units: the permutation that brings ``source`` to ``target``."""

__all__ = [
    "activation_matching",
    "cycle_consistent",
    "cycle_error",
    "joint_objective",
    "merge_many",
    "objective",
    "pairwise",
    "straight_through",
    "to_reference",
    "weight_matching",
]

from lmc_lib.matching.activations import activation_matching
from lmc_lib.matching.many import cycle_consistent, cycle_error, joint_objective, merge_many, pairwise, to_reference
from lmc_lib.matching.midpoint import straight_through
from lmc_lib.matching.weights import objective, weight_matching
