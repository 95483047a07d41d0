"""The distance of two paths: where in depth networks differ, and whether it tells the barrier, on planted numbers."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from lmc_lib import experiments, rng
from lmc_lib.claims.simulation import exchanged
from lmc_lib.data import DataSpec
from lmc_lib.experiments import paths_of_twins
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.setting import setting
from lmc_lib.experiments.stability.paths_of_twins import AnglesSpec
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.models import ModelSpec
from lmc_lib.perturbation import Perturbation
from lmc_lib.similarity import angular_cka
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig

PARENTS = 11
CELLS = [Cell(step, Perturbation(0.01)) for step in (0, 7, 30)]
# Of planted twins the angle is largest behind the second of five layers.
SHAPE = np.array([0.9, 1.3, 1.0, 0.8, 0.65])


def planted(paths, weights, seed="planted"):
    """Twins whose barrier goes as closely as is asked with the distance of paths and of weights; it falls with time."""
    draws = rng.numpy_stream(0, "paths of twins", seed)
    values = {}
    for place, cell in enumerate(CELLS):
        rows = []
        for barrier in draws.normal(size=PARENTS):
            near, far = ((1 - close) * draws.normal() + close * barrier for close in (paths, weights))
            rows.append(
                [
                    {
                        "barriers": {"none": {"train loss": 3.0 - place + 0.1 * barrier}},
                        "distance": {"steps": [0, 50], "whole": [1.0, 9.0 - place + 0.1 * far]},
                        "angles": list((3.0 - place + 0.1 * near) * SHAPE),
                    }
                ]
            )
        values[cell] = rows
    return Twins(values)


def pairs(ratio):
    """Independent networks whose angle behind the second layer is so many times that behind the last."""
    draws = rng.numpy_stream(0, "independent")
    members = [(i, j) for i in range(PARENTS) for j in range(i + 1, PARENTS)]
    return Found(PARENTS, {each: {"angles": [9.0, ratio * scale, scale]} for each, scale in
                           zip(members, np.exp(0.2 * draws.normal(size=len(members))), strict=True)})  # fmt: skip


def test_the_distance_of_paths_is_the_mean_angle_over_layers():
    found = planted(0.5, 0.5)
    profile = found.of(CELLS[1], "angles")
    assert profile.shape == (PARENTS, 1, 5)
    assert profile[4, 0].tolist() == found.values[CELLS[1]][4][0]["angles"]
    assert profile / profile[..., :1] == pytest.approx(np.broadcast_to(SHAPE / 0.9, profile.shape))
    assert paths_of_twins.between_paths(found, CELLS[1])[4, 0] == pytest.approx(np.mean(profile[4, 0]))


def test_a_dead_layer_leaves_no_distance():
    found = planted(0.5, 0.5)
    found.values[CELLS[0]][2][0]["angles"][3] = None
    assert np.isnan(paths_of_twins.between_paths(found, CELLS[0])).ravel().tolist() == [p == 2 for p in range(PARENTS)]


@pytest.mark.parametrize(
    ("paths", "weights", "signs"), [(1.0, 0.0, (1, 0, -1)), (0.0, 1.0, (0, 1, 1)), (0.0, 0.0, (0, 0, 0))]
)
def test_what_goes_with_the_barrier_within_times_is_seen(paths, weights, signs):
    evidence = paths_of_twins.evidence(planted(paths, weights), CELLS, pairs(1.4))
    assert evidence.keys() == {"paths", "weights", "weights, more", "twins", "independent"}
    for name, sign in zip(("paths", "weights", "weights, more"), signs, strict=True):
        low, high = evidence[name].low, evidence[name].high
        assert (low > 0, high < 0) == (sign > 0, sign < 0), name


def test_correlations_are_those_of_ranks_within_times():
    """Of cells of one size the ranks within each, all together: against scipy on ranks made by hand."""
    found = planted(0.4, 0.7)
    evidence = paths_of_twins.evidence(found, CELLS, pairs(1.4))

    def together(get):
        ranks = [np.argsort(np.argsort(get(cell).ravel())) for cell in CELLS]
        return spearmanr(np.concatenate(ranks), np.concatenate([np.argsort(np.argsort(found.barriers(cell).ravel()))
                                                                 for cell in CELLS])).statistic  # fmt: skip

    paths = together(lambda cell: paths_of_twins.between_paths(found, cell))
    weights = together(found.distance)
    assert evidence["paths"].value == pytest.approx(paths)
    assert evidence["weights"].value == pytest.approx(weights)
    assert evidence["weights, more"].value == pytest.approx(weights - paths)
    assert evidence["weights, more"].count("parent") == f"{PARENTS} parents"
    assert abs(paths - weights) > 0.1  # else the sign would not be tested
    # Here all layers of a network have one scatter, so that each says the same.
    assert [each.value for each in paths_of_twins.correlations(found, CELLS)] == pytest.approx([paths] * 5)


def test_time_alone_is_no_correlation():
    """Paths, weights and barriers all fall with time, which over all times together correlates them."""
    found = planted(0.0, 0.0)
    columns = [np.ravel([get(cell) for cell in CELLS]) for get in
               (lambda cell: paths_of_twins.between_paths(found, cell), found.barriers)]  # fmt: skip
    assert spearmanr(*columns).statistic > 0.8
    assert abs(paths_of_twins.evidence(found, CELLS, pairs(1.4))["paths"].value) < 0.35


def test_depth_is_told_by_the_second_layer_and_the_last():
    evidence = paths_of_twins.evidence(planted(0.5, 0.5), CELLS, pairs(0.7))
    assert evidence["twins"].value == pytest.approx(1.3 / 0.65)
    assert evidence["twins"].low > 1.1
    assert evidence["independent"].value == pytest.approx(0.7)
    assert evidence["independent"].high < 1.1
    assert evidence["independent"].count() == f"{PARENTS} networks ({PARENTS * (PARENTS - 1) // 2} pairs)"


@pytest.mark.parametrize(("name", "how", "null"), [("paths", "shuffle", 0.0), ("weights, more", "sign", 0.0),
                                                   ("twins", "swap", 1.0), ("independent", "sign", 1.0)])  # fmt: skip
def test_exchanged_numbers_say_nothing(name, how, null):
    """The controls: of many exchanges the intervals hold the null, but for about one in twenty."""
    study = paths_of_twins.evidence(planted(0.4, 1.0), CELLS, pairs(1.4))[name].study
    draws = rng.numpy_stream(0, "exchanges")
    others = [exchanged(study, how, null, draws).estimate(resamples=400) for _ in range(20)]
    assert sum(each.low <= null <= each.high for each in others) >= 17


def test_angles_of_a_pair_are_those_of_its_features(tmp_path):
    train = TrainConfig(steps=5, batch_size=32, lr=0.1, precision="portable")
    runs = experiments.runs.replicas(ModelSpec("mlp", 7, 3), DataSpec("digits", train_examples=64), train, 3)
    specs = AnglesSpec.of_pairs(runs, feature_examples=23)
    store = Store(tmp_path)
    found = experiments.measure(store, specs).of("angles")
    assert found.shape == (3, 3)
    here = setting(runs[0], 1, None, 1, 1)
    one, two = (
        here.features(experiments.runs.obtain_run(store, run).final, here.inputs("test")[:23]) for run in runs[1:]
    )
    expected = [angular_cka(one[node], two[node], flavour="lange") for node in one]
    assert found[2] == pytest.approx(expected, abs=1e-8)
    assert len({round(each, 6) for each in found.ravel()}) == 9
