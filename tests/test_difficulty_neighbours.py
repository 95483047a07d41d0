"""Depth and prototypes: votes equal to counting by hand, examples kept out of their own neighbourhood."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lmc_lib import rng
from lmc_lib.difficulty import prediction_depth, prototype_distance, self_prototype_distance

SEEDS = st.integers(0, 2**40)


def draw(seed, layers=4, examples=25, classes=3):
    generator = rng.numpy_stream(seed)
    labels = generator.integers(classes, size=examples)
    means = generator.normal(size=(layers, classes, 5))
    return [generator.normal(size=(examples, 5)) + depth * means[depth][labels] for depth in range(layers)], labels


def votes_by_hand(layer, labels, neighbours, with_self):
    """Counts the votes of the nearest examples, one example at a time."""
    distances = cdist(layer, layer)
    found = []
    for number, row in enumerate(distances):
        others = [each for each in row.argsort(kind="stable") if with_self or each != number]
        found.append(np.bincount(labels[others[:neighbours]]).argmax())
    return np.array(found)


def depth_by_hand(right):
    return [next(s for s in range(len(column) + 1) if column[s:].all()) for column in np.array(right).T]


class TestPredictionDepth:
    @given(seed=SEEDS, neighbours=st.integers(1, 8), with_self=st.booleans())
    def test_is_the_first_layer_from_which_all_votes_are_right(self, seed, neighbours, with_self):
        layers, labels = draw(seed)
        right = [votes_by_hand(layer, labels, neighbours, with_self) == labels for layer in layers]
        found = prediction_depth(layers, labels, neighbours=neighbours, with_self=with_self)
        assert found.tolist() == depth_by_hand(right)

    @given(seed=SEEDS)
    def test_against_final_predictions(self, seed):
        layers, labels = draw(seed)
        final = rng.numpy_stream(seed, "final").integers(3, size=len(labels))
        right = [votes_by_hand(layer, labels, 5, False) == final for layer in layers]
        assert prediction_depth(layers, labels, final=final, neighbours=5).tolist() == depth_by_hand(right)

    @given(seed=SEEDS)
    def test_of_other_examples(self, seed):
        layers, labels = draw(seed)
        # The first ten ask and the others vote: as if each of the ten were alone with them.
        kept = [layer[10:] for layer in layers]
        found = prediction_depth(
            kept, labels[10:], neighbours=5, queries=(layer[:10] for layer in layers), query_labels=labels[:10]
        )
        right = []
        for layer in layers:
            nearest = cdist(layer[:10], layer[10:]).argsort(axis=1)[:, :5]
            right.append([np.bincount(each).argmax() for each in labels[10:][nearest]] == labels[:10])
        assert found.tolist() == depth_by_hand(right)

    def test_by_hand(self):
        # On a line: example 0 stands in the other class at first and with its own in the end; 3 always in the other.
        labels = np.array([0, 0, 0, 1, 1, 1])
        wrong = np.array([[9.8], [0.0], [0.1], [0.25], [10.0], [10.1]])
        half = np.array([[-0.05], [0.0], [0.1], [0.25], [10.0], [10.1]])
        assert prediction_depth([wrong, half], labels, neighbours=1).tolist() == [1, 0, 0, 2, 0, 0]
        everyone = prediction_depth([wrong, half], labels, neighbours=1, with_self=True)
        assert everyone.tolist() == [0] * 6  # each is its own nearest neighbour

    def test_an_example_among_its_own_neighbours_looks_easier(self):
        layers, labels = draw(0, examples=200, classes=5)
        alone, together = (prediction_depth(layers, labels, neighbours=3, with_self=each) for each in (False, True))
        assert together.mean() < alone.mean() - 0.2

    def test_of_as_many_votes_the_smallest_class_wins(self):
        layer, labels = np.array([[0.0], [1.0], [2.0]]), np.array([1, 1, 0])
        # The middle one's neighbours vote 1 and 0.
        assert prediction_depth([layer], labels, neighbours=2).tolist() == [1, 1, 1]
        assert prediction_depth([layer], labels, neighbours=2, final=np.array([0, 0, 1])).tolist() == [0, 0, 0]

    def test_layers_may_come_one_after_the_other(self):
        layers, labels = draw(0)
        expected = prediction_depth(layers, labels, neighbours=4).tolist()
        assert prediction_depth(iter(layers), labels, neighbours=4).tolist() == expected

    def test_errors(self):
        layers, labels = draw(0)
        with pytest.raises(ValueError, match="25 neighbours of 24 examples at hand"):
            prediction_depth(layers, labels, neighbours=25)
        assert len(prediction_depth(layers, labels, neighbours=25, with_self=True)) == 25
        with pytest.raises(ValueError, match="26 neighbours of 25 examples"):
            prediction_depth(layers, labels, neighbours=26, with_self=True)
        with pytest.raises(ValueError, match="0 neighbours of 24"):
            prediction_depth(layers, labels, neighbours=0)
        with pytest.raises(ValueError, match="layers 1 and 2 are the same"):
            prediction_depth([layers[0], layers[1], layers[1].copy()], labels, neighbours=3)
        with pytest.raises(ValueError, match="25 examples and 24 labels"):
            prediction_depth(layers, labels[:24], neighbours=3)
        with pytest.raises(ValueError, match="25 examples to place and 20 final"):
            prediction_depth(layers, labels, final=labels[:20], neighbours=3)
        with pytest.raises(ValueError, match="there is no layer"):
            prediction_depth([], labels)
        with pytest.raises(ValueError, match="both their representations and their labels"):
            prediction_depth(layers, labels, queries=layers)
        with pytest.raises(ValueError, match="with_self has no meaning"):
            prediction_depth(layers, labels, queries=layers, query_labels=labels, with_self=True)
        with pytest.raises(ValueError, match="zip"):
            prediction_depth(layers, labels, queries=layers[:2], query_labels=labels, neighbours=3)
        layers[2][4, 1] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            prediction_depth(layers, labels, neighbours=3)


class TestPrototypes:
    @given(seed=SEEDS)
    def test_distance_to_the_class_mean_with_and_without_the_example(self, seed):
        (features, *_), labels = draw(seed, examples=30)
        labels[:6] = [0, 0, 1, 1, 2, 2]
        for with_self in (True, False):
            expected = []
            for number, (row, label) in enumerate(zip(features, labels, strict=True)):
                own = (labels == label) & (with_self | (np.arange(30) != number))
                expected.append(np.linalg.norm(row - features[own].mean(0)))
            found = prototype_distance(features, labels, with_self=with_self)
            assert found == pytest.approx(expected, rel=1e-10)

    def test_distance_to_the_nearest_of_well_separated_centres(self):
        generator = rng.numpy_stream(0, "clusters")
        labels = np.arange(40) % 4
        features = 100.0 * np.eye(4)[labels] + generator.normal(size=(40, 4))
        found = self_prototype_distance(features, prototypes=4, rng=generator)
        assert found == pytest.approx(prototype_distance(features, labels), rel=1e-10)

    def test_the_generator_alone_decides(self):
        (features, *_), _ = draw(0, examples=200)
        first, again, other = (
            self_prototype_distance(features, rng=rng.numpy_stream(0, name)).tolist() for name in ("a", "a", "b")
        )
        assert first == again != other

    def test_errors(self):
        (features, *_), labels = draw(0)
        with pytest.raises(ValueError, match="26 prototypes of 25 different examples"):
            self_prototype_distance(features, prototypes=26, rng=rng.numpy_stream(0))
        with pytest.raises(ValueError, match="3 prototypes of 1 different examples"):
            self_prototype_distance(np.ones((9, 2)), prototypes=3, rng=rng.numpy_stream(0))
        with pytest.raises(ValueError, match="class 9 has a single example"):
            prototype_distance(features, np.where(np.arange(25) == 3, 9, labels), with_self=False)
        assert prototype_distance(features, np.where(np.arange(25) == 3, 9, labels))[3] == 0.0
        with pytest.raises(ValueError, match="25 examples and 3 labels"):
            prototype_distance(features, labels[:3])
