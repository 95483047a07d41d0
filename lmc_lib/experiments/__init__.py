"""Runs and measurements as values, and what notebooks share: train these replicas, measure these pairs.

A notebook lists the specs of what it needs, fills the store with them (:mod:`lmc_lib.sweeps`), reads what was found and
asks for the evidence of its claim.
"""

__all__ = [
    "Found", "adaptation", "adaptive", "additions", "agreement", "architectures", "autoencoders", "breaking",
    "butterfly", "chains", "children", "collapse", "compatibility", "compositions", "compressed", "conservation",
    "contrasts", "critical_points", "cuts", "data_pruning", "decoders", "displacements", "edges", "feature_maps",
    "filters", "finetuning", "fingerprints", "geometry", "heads", "joint_paths", "label_errors", "lengths",
    "lesion_laws", "lesions", "magnitudes", "margins", "mask_transfer", "measure", "metric_laws", "monotonicity",
    "motions", "movement", "neural_collapse", "neurons", "pair", "paths", "paths_of_twins", "pictures", "pruned",
    "pruned_pairs", "regimes", "regressions", "reliability", "runs", "saliency", "schedules", "score_table", "scores",
    "searches", "simplices", "size_laws", "sizes", "stacks", "starts", "stitches", "straight_lines", "strategies",
    "students", "trajectories", "twins", "two_rules", "volumes", "widths",
]  # fmt: skip

from lmc_lib.experiments.connectivity import (
    chains,
    compatibility,
    mask_transfer,
    pair,
    pruned_pairs,
    searches,
    simplices,
    size_laws,
    sizes,
    starts,
    stitches,
    strategies,
    trajectories,
    volumes,
)
from lmc_lib.experiments.difficulty import (
    agreement,
    contrasts,
    data_pruning,
    fingerprints,
    label_errors,
    pictures,
    reliability,
    score_table,
    scores,
)
from lmc_lib.experiments.dynamics import (
    adaptation,
    adaptive,
    additions,
    autoencoders,
    breaking,
    compositions,
    conservation,
    critical_points,
    decoders,
    displacements,
    edges,
    filters,
    heads,
    lengths,
    magnitudes,
    margins,
    motions,
    neural_collapse,
    neurons,
    regimes,
    regressions,
    schedules,
    students,
    widths,
)
from lmc_lib.experiments.found import Found, measure
from lmc_lib.experiments.networks import (
    architectures,
    children,
    collapse,
    compressed,
    cuts,
    feature_maps,
    geometry,
    joint_paths,
    lesion_laws,
    lesions,
    metric_laws,
    monotonicity,
    movement,
    paths,
    pruned,
    runs,
    saliency,
    stacks,
    straight_lines,
    two_rules,
)
from lmc_lib.experiments.stability import butterfly, finetuning, paths_of_twins, twins
