"""The compositions that notebooks share: train these replicas, measure these pairs, through the store."""

__all__ = [
    "METHODS", "Measurements", "Origin", "PairSpec", "Planned", "RunSpec", "Spec", "Trajectories", "TrajectoryPairSpec",
    "architecture", "evidence", "fill", "listed", "measure", "measure_trajectories", "obtain", "obtain_pair",
    "obtain_run", "origin", "pairs", "replicas", "trajectory_evidence", "trajectory_pairs",
]  # fmt: skip

from lmc_lib.experiments.measurement import METHODS, Measurements, PairSpec, evidence, measure, obtain_pair, pairs
from lmc_lib.experiments.runs import RunSpec, architecture, obtain_run, replicas
from lmc_lib.experiments.sources import Origin, listed, origin
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.experiments.sweep import Planned, fill
from lmc_lib.experiments.trajectories import (
    Trajectories,
    TrajectoryPairSpec,
    measure_trajectories,
    trajectory_evidence,
    trajectory_pairs,
)
