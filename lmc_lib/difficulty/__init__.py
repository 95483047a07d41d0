"""How hard examples are: scores of examples, how far they can be trusted, and what they are used for.

``pointwise`` scores the logits of one network at one step; ``History`` follows a training, one checkpoint at a time, in
memory that does not grow with their number; gradients, representations and ensembles have scores of their own.
``Scorer`` takes all that one network gives, and ``Recorder`` what any training loop has at hand. ``SCORES`` says which
way each of them points, ``harder`` turns them.
``correlations`` and what follows compare replicates, scores and architectures. Scores are float64 arrays with one entry
an example; a stack has one row a replicate.
"""

__all__ = [
    "LEVEL", "NEVER_LEARNED", "POINTWISE", "POLICIES", "SCORES", "VOG", "Components", "Correlations", "Halves",
    "History", "Identified", "Learning", "MixedSamples", "Moments", "Recorder", "Scorer", "Sensitivity", "Stacks",
    "agreement", "all_correct", "average_precision", "averaged_runs", "c_score", "compare_halves", "consensus",
    "correlations", "cross_correlation", "cross_identify", "departures", "different_scores", "differing",
    "disattenuated", "draw_members", "grand", "grand_last_layer", "harder", "identify", "in_common",
    "input_gradients", "keep", "kinds", "mean_of_halves", "mean_over_replicates", "memorisation", "permutation_test",
    "places", "pointwise", "precisions", "predict", "prediction_depth", "principal_components", "prototype_distance",
    "ranking", "ranks", "reliabilities", "reliability", "reliability_of_means", "reproduced", "runs_needed",
    "runs_reaching", "score_correlations", "self_prototype_distance", "sensitive_examples", "shuffle_classes",
    "shuffle_within", "spearman_brown", "split_by_orders", "split_half", "tie_share", "unanimity", "vog",
    "welch_test", "within_classes",
]  # fmt: skip

from lmc_lib.difficulty.averaging import (
    averaged_runs,
    departures,
    reliability_of_means,
    runs_needed,
    runs_reaching,
    spearman_brown,
    split_by_orders,
    split_half,
)
from lmc_lib.difficulty.contrast import (
    LEVEL,
    Halves,
    compare_halves,
    differing,
    kinds,
    mean_of_halves,
    places,
    reproduced,
)
from lmc_lib.difficulty.correlation import (
    Components,
    Correlations,
    correlations,
    cross_correlation,
    different_scores,
    disattenuated,
    in_common,
    principal_components,
    ranks,
    reliability,
    score_correlations,
    tie_share,
)
from lmc_lib.difficulty.fingerprint import Identified, cross_identify, identify, sensitive_examples, shuffle_classes
from lmc_lib.difficulty.gradients import VOG, grand, grand_last_layer, input_gradients, vog, within_classes
from lmc_lib.difficulty.learning import NEVER_LEARNED, History, Learning
from lmc_lib.difficulty.moments import Moments
from lmc_lib.difficulty.neighbours import prediction_depth, prototype_distance, self_prototype_distance
from lmc_lib.difficulty.orientation import SCORES, harder
from lmc_lib.difficulty.predictions import POINTWISE, pointwise, predict
from lmc_lib.difficulty.recorder import Recorder, reliabilities
from lmc_lib.difficulty.scorer import Scorer
from lmc_lib.difficulty.selection import POLICIES, average_precision, keep, precisions, ranking, shuffle_within
from lmc_lib.difficulty.sensitivity import Sensitivity, permutation_test, welch_test
from lmc_lib.difficulty.stacks import Stacks
from lmc_lib.difficulty.subsets import (
    MixedSamples,
    agreement,
    all_correct,
    c_score,
    consensus,
    draw_members,
    mean_over_replicates,
    memorisation,
    unanimity,
)
