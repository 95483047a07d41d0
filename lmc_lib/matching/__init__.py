"""Matching of two networks' units: the permutation that brings ``source`` to ``target``."""

__all__ = ["activation_matching", "objective", "weight_matching"]

from lmc_lib.matching.activations import activation_matching
from lmc_lib.matching.weights import objective, weight_matching
