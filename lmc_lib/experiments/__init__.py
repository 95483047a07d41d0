"""The compositions that notebooks share: train these replicas, measure these pairs, through the store."""

__all__ = [
    "METHODS", "PLANS", "PUBLISHED", "RECALLS", "SAMPLES", "SEARCHES", "SIMPLEX_METHODS", "Agreement",
    "AgreementSpec", "Cell", "ChainSpec", "Chains", "Checkpoint", "ChildSpec", "ContrastSpec", "Contrasts",
    "FeatureSpec", "FingerprintSpec", "Fingerprints", "HeldOutSpec", "Kept", "KeptSpec", "LabelErrors",
    "LabelErrorsSpec", "Matchings", "MatchingsSpec", "Measurements", "NamesExamples", "Origin", "PairSpec",
    "Pictures", "PicturesSpec", "Planned", "PrunedPairSpec", "PrunedPairs", "PrunedSpec", "Reliability",
    "ReliabilitySpec", "RunSpec", "ScoreTableSpec", "Scores", "ScoresSpec", "SimplexSpec", "Simplices", "Spec",
    "Trajectories", "TrajectoryPairSpec", "TransportSpec", "Transports", "TwinSpec", "Twins", "agreement_evidence",
    "alignment_evidence", "architecture", "chain_specs", "contrast_evidence", "contrast_specs", "direction_evidence",
    "distance_evidence", "evidence", "fill", "fine_tuned", "finetuning_evidence", "fingerprint_evidence",
    "growth_exponents", "hyperparameter_evidence", "kept_specs", "label_evidence", "limit_evidence", "limit_pairs",
    "listed", "measure", "measure_agreement", "measure_chains", "measure_contrasts", "measure_fingerprints",
    "measure_kept", "measure_label_errors", "measure_limits", "measure_pictures", "measure_pruned",
    "measure_reliability", "measure_simplices", "measure_trajectories", "measure_transports", "measure_twins",
    "obtain", "obtain_child", "obtain_pair", "obtain_run", "obtain_sequence", "onset_evidence", "origin",
    "over_networks", "pairs", "pretrained_evidence", "pruned_evidence", "pruned_pairs", "pruning_evidence",
    "read_scores", "reliability_evidence", "replicas", "representation_evidence", "score_specs", "score_table",
    "simplex_specs", "simplices_evidence", "start_evidence", "trajectory_evidence", "trajectory_pairs", "transports",
    "twin_grid",
]  # fmt: skip

from lmc_lib.experiments.agreement import (
    Agreement,
    AgreementSpec,
    ScoreTableSpec,
    agreement_evidence,
    measure_agreement,
    score_table,
)
from lmc_lib.experiments.butterfly import (
    alignment_evidence,
    direction_evidence,
    distance_evidence,
    growth_exponents,
    hyperparameter_evidence,
    onset_evidence,
    representation_evidence,
    start_evidence,
)
from lmc_lib.experiments.chains import Chains, ChainSpec, chain_specs, measure_chains
from lmc_lib.experiments.collecting import over_networks
from lmc_lib.experiments.contrasts import Contrasts, ContrastSpec, contrast_evidence, contrast_specs, measure_contrasts
from lmc_lib.experiments.finetuning import fine_tuned, finetuning_evidence, pretrained_evidence
from lmc_lib.experiments.fingerprints import Fingerprints, FingerprintSpec, fingerprint_evidence, measure_fingerprints
from lmc_lib.experiments.kept import PLANS, Kept, KeptSpec, kept_specs, measure_kept, pruning_evidence
from lmc_lib.experiments.labels import (
    RECALLS,
    HeldOutSpec,
    LabelErrors,
    LabelErrorsSpec,
    label_evidence,
    measure_label_errors,
)
from lmc_lib.experiments.limits import (
    SEARCHES,
    FeatureSpec,
    Matchings,
    MatchingsSpec,
    limit_evidence,
    limit_pairs,
    measure_limits,
)
from lmc_lib.experiments.measurement import METHODS, Measurements, PairSpec, evidence, measure, obtain_pair, pairs
from lmc_lib.experiments.pictures import NamesExamples, Pictures, PicturesSpec, measure_pictures
from lmc_lib.experiments.pruned import PrunedSpec, obtain_sequence
from lmc_lib.experiments.pruned_barriers import (
    PrunedPairs,
    PrunedPairSpec,
    measure_pruned,
    pruned_evidence,
    pruned_pairs,
)
from lmc_lib.experiments.reliability import (
    PUBLISHED,
    Reliability,
    ReliabilitySpec,
    measure_reliability,
    reliability_evidence,
)
from lmc_lib.experiments.runs import Checkpoint, RunSpec, architecture, obtain_run, replicas
from lmc_lib.experiments.scores import SAMPLES, Scores, ScoresSpec, read_scores, score_specs
from lmc_lib.experiments.simplices import (
    SIMPLEX_METHODS,
    SimplexSpec,
    Simplices,
    measure_simplices,
    simplex_specs,
    simplices_evidence,
)
from lmc_lib.experiments.sources import Origin, listed, origin
from lmc_lib.experiments.spawn import ChildSpec, obtain_child
from lmc_lib.experiments.spec import Spec, obtain
from lmc_lib.experiments.sweep import Planned, fill
from lmc_lib.experiments.trajectories import (
    Trajectories,
    TrajectoryPairSpec,
    measure_trajectories,
    trajectory_evidence,
    trajectory_pairs,
)
from lmc_lib.experiments.transported import Transports, TransportSpec, measure_transports, transports
from lmc_lib.experiments.twins import Cell, Twins, TwinSpec, measure_twins, twin_grid
