"""The compositions that notebooks share: train these replicas, measure these pairs, through the store."""

__all__ = [
    "METHODS", "Measurements", "PairSpec", "Planned", "RunSpec", "fill", "measure", "obtain_pair", "obtain_run", "pairs",
    "replicas",
]  # fmt: skip

from lmc_lib.experiments.pairs import METHODS, Measurements, PairSpec, measure, obtain_pair, pairs
from lmc_lib.experiments.runs import RunSpec, obtain_run, replicas
from lmc_lib.experiments.sweep import Planned, fill
