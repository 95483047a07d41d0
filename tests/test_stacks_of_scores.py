"""Scores of several networks at once: what is told of a stack equals what plain loops over networks tell."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lmc_lib import data, difficulty, norms
from lmc_lib.data import DataSpec
from lmc_lib.difficulty import averaged_runs, in_common, ranking, reliability_of_means, score_correlations


@pytest.fixture
def stack():
    """Four networks, three scores, 23 examples: a shared part, a part of each network, and ties in the last score."""
    generator = np.random.default_rng(5)
    shared = generator.normal(size=(1, 3, 23))
    values = shared + generator.normal(size=(4, 1, 23)) + 0.5 * generator.normal(size=(4, 3, 23))
    values[:, 2] = values[:, 2].round()
    return values


def rho(first, second):
    return spearmanr(first, second).statistic


def test_correlations_of_scores_are_those_of_each_pair_of_networks(stack):
    found = score_correlations(stack)
    for a, b in permutations(range(3), 2):
        assert found["same run"][a, b] == pytest.approx(np.mean([rho(each[a], each[b]) for each in stack]))
        others = {(x, y): np.mean([rho(i[x], j[y]) for i, j in permutations(stack, 2)]) for x in (a, b) for y in (a, b)}
        assert found["other run"][a, b] == pytest.approx(others[a, b])
        assert found["disattenuated"][a, b] == pytest.approx(others[a, b] / np.sqrt(others[a, a] * others[b, b]))
        assert found["means"][a, b] == pytest.approx(rho(stack[:, a].mean(0), stack[:, b].mean(0)))
    assert found["disattenuated"].diagonal().tolist() == [1.0, 1.0, 1.0]


def test_what_scores_have_in_common_is_told_by_the_matrix_of_rank_correlations(stack):
    scores = np.concatenate([stack.mean(0), -stack[0, :1]])
    found = in_common(scores)
    matrix = np.array([[rho(a, b) for b in scores] for a in scores])
    variances, vectors = np.linalg.eigh(matrix)
    assert found["correlation"] == pytest.approx(np.median(np.abs(matrix[np.triu_indices(4, 1)])))
    assert found["dominance"] == pytest.approx(variances[-1] / variances[-2])
    first = vectors[:, -1] * np.sign(vectors[0, -1])
    assert found["loading"] == pytest.approx(first.min())
    assert found["loading"] < 0.0  # one score is turned over


def test_reliability_of_means_is_that_of_halves_in_each_order():
    generator = np.random.default_rng(7)
    scores = generator.normal(size=(1, 31)) + generator.normal(size=(7, 31))
    orders = np.array([generator.permutation(7) for _ in range(3)])
    found = reliability_of_means(scores, orders, leave_out=True)
    assert averaged_runs(7) == [1, 2, 3]
    pairs = [rho(scores[i], scores[j]) for i, j in combinations(range(7), 2)]
    assert found["pairs"] == pytest.approx(pairs)
    assert found["without"].shape == (7, 3)

    def halves(order, runs):
        return rho(scores[order[:runs]].mean(0), scores[order[runs : 2 * runs]].mean(0))

    assert found["halves"] == pytest.approx([np.mean([halves(order, runs) for order in orders]) for runs in (1, 2, 3)])
    kept = [order[order != 4] for order in orders]
    assert found["without"][4] == pytest.approx(
        [np.mean([halves(order, runs) for order in kept]) for runs in (1, 2, 3)]
    )
    assert len(reliability_of_means(scores, orders)["without"]) == 0


def test_a_ranking_of_wrong_labels_by_hand():
    """Two wrong labels among five; the first network ranks them 1 and 3, the second 2 and 4, their mean 1 and 2."""
    wrong = np.array([True, False, True, False, False])
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.5, 5.0, 2.6]])
    found = ranking(scores, wrong, np.array([0.5, 1.0]))
    assert found["each"] == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])
    assert float(found["mean"]) == pytest.approx(difficulty.average_precision(scores.mean(0), wrong))
    assert found["without"] == pytest.approx(found["each"][::-1])
    assert found["precisions"].shape == (2, 2)


def test_wrong_labels_are_those_that_were_replaced():
    clean = data.load(DataSpec("digits", train_examples=50))
    noisy = data.load(DataSpec("digits", train_examples=50, label_noise=0.3))
    changed = noisy.train.labels != clean.train.labels
    assert changed.sum() > 5
    assert noisy.mislabelled.tolist() == changed.tolist()
    assert not clean.mislabelled.any()


def test_weights_without_statistics():
    entries = ["0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked", "1.bias"]
    state = {name: torch.zeros(1) for name in entries}
    assert list(norms.without_statistics(state)) == ["0.weight", "1.bias"]
