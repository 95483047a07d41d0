"""The compositions that notebooks share: train these replicas, measure these pairs, through the store."""

__all__ = [
    "METHODS", "Measurements", "Origin", "PairSpec", "Planned", "RunSpec", "Spec", "architecture", "evidence", "fill",
    "listed", "measure", "obtain", "obtain_pair", "obtain_run", "origin", "pairs", "replicas",
]  # fmt: skip

from lmc_lib.experiments.measurement import METHODS, Measurements, PairSpec, evidence, measure, obtain_pair, pairs
from lmc_lib.experiments.runs import RunSpec, architecture, obtain_run, replicas
from lmc_lib.experiments.sources import Origin, listed, origin
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.experiments.sweep import Planned, fill
