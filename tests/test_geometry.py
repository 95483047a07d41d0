"""Representations of networks under each metric: laws, chance, ways to read feature maps; many distances at once."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lmc_lib import experiments, models, rng, similarity, sweeps
from lmc_lib.data import DataSpec
from lmc_lib.experiments.found import Found
from lmc_lib.experiments.networks import feature_maps, geometry, metric_laws
from lmc_lib.experiments.networks.feature_maps import MapSpec
from lmc_lib.experiments.networks.geometry import GeometrySpec, NoiseSpec
from lmc_lib.experiments.networks.metric_laws import LawSpec
from lmc_lib.similarity import METRICS, Flat, kernels, laws, metric
from lmc_lib.store import Store
from lmc_lib.training import TrainConfig


def draw(*shape, seed=0, name="x"):
    return torch.randn(*shape, generator=rng.stream(seed, "laws", name), dtype=torch.float64)


def angles(flavour, layers):
    """From matrices of examples, by the definition."""
    found = []
    for x in layers:
        x = x.numpy() - x.numpy().mean(0)
        kernel, m = x @ x.T, len(x)
        if flavour == "song":
            np.fill_diagonal(kernel, 0.0)
            rows = kernel.sum(1) / (m - 2)
            kernel = kernel - rows[:, None] - rows + kernel.sum() / ((m - 1) * (m - 2))
        if flavour != "gretton":
            np.fill_diagonal(kernel, 0.0)
        found.append(kernel.ravel() / np.linalg.norm(kernel))
    return np.arccos(np.clip(np.array(found) @ np.array(found).T, -1.0, 1.0))


class TestManyDistances:
    @pytest.mark.parametrize("flavour", similarity.FLAVOURS)
    @pytest.mark.parametrize("held", [1, 5 * 23 * 7, 2**25])  # one row at a time, 7 with some left over, all
    @pytest.mark.parametrize("together", [True, False])
    def test_are_those_of_plain_kernels(self, flavour, held, together, monkeypatch):
        monkeypatch.setattr(kernels, "_HELD", held)
        monkeypatch.setattr(kernels, "_together_is_cheaper", lambda _: together)
        layers = [draw(23, units, name=str(units)) for units in (2, 5, 11, 23, 40)]
        found = similarity.distances(metric(f"cka-linear-{flavour}"), layers)
        expected = angles(flavour, layers)
        np.fill_diagonal(expected, 0.0)
        assert np.allclose(found.numpy(), expected, rtol=0.0, atol=1e-12)

    def test_small_ones_keep_their_digits(self, monkeypatch):
        x = draw(23, 4)
        layers = [x, x + 1e-7 * draw(23, 4, name="noise"), 2.0 * x, draw(23, 4, name="y")]
        row = metric("cka-linear-gretton")
        alone = [[row.distance(a, b) for b in layers] for a in layers]
        monkeypatch.setattr(kernels, "_together_is_cheaper", lambda _: True)
        found = similarity.distances(row, layers).tolist()
        assert 1e-9 < found[0][1] < 1e-6
        assert found[0][1:3] == [pytest.approx(alone[0][1], rel=1e-6), pytest.approx(0.0, abs=1e-9)]
        assert found[3][:3] == pytest.approx(alone[3][:3], abs=1e-12)

    def test_make_all_kernels_once_where_that_is_cheaper(self):
        def cheaper(examples, widths):
            return kernels._together_is_cheaper([torch.empty(examples, units) for units in widths])

        assert cheaper(100, [40] * 30)
        assert cheaper(100, [200] * 5)
        assert not cheaper(100, [4] * 30)  # products of few features
        assert not cheaper(100, [200] * 2)  # a pair is a pair


class TestChance:
    @pytest.mark.parametrize("flavour", similarity.FLAVOURS)
    def test_is_the_mean_over_all_orders(self, flavour):
        row = metric(f"cka-linear-{flavour}")
        x, y = draw(5, 3) ** 3, draw(5, 7, name="y")  # unequal examples, unequal numbers of units
        cosines = [
            math.cos(float(row.space.distance(row.point(x), row.point(y[list(order)]))))
            for order in itertools.permutations(range(5))
        ]
        expected = float(row.space.chance(row.point(x), row.point(y)))
        assert np.mean(cosines) == pytest.approx(expected, abs=1e-9)
        assert (expected == 0.0) == (flavour == "song")

    def test_of_many_units_leaves_only_one_flavour_unbiased(self, tmp_path):
        """Nearly orthogonal examples: centred kernels that differ from the same matrix by little."""
        found = sweeps.obtain(Store(tmp_path), NoiseSpec(images=(6,), units=(2, 2000), draws=20)).values
        short = {name: math.pi / 2 - each["angle"][0][1] for name, each in found.items()}
        assert short["gretton"] > 1.3
        assert short["lange"] > 0.9
        assert abs(short["song"]) < 0.3  # the deviation of a mean of 20, about 0.08, three times

    def test_unrelated_pairs_are_neighbours_with_their_examples_shuffled(self):
        layers = [torch.arange(7.0)[:, None] + 100 * place for place in range(3)]
        streams = [rng.stream(draw_, "unrelated") for draw_ in range(2)]
        pairs = similarity.unrelated(layers, 5, streams)
        assert len(pairs) == 2 * 2
        for number, (first, second) in enumerate(pairs):
            place = number % 2
            rows, order = first[:, 0] - 100 * place, second[:, 0] - 100 * (place + 1)
            assert len(set(rows.tolist())) == 5
            assert sorted(rows.tolist()) == sorted(order.tolist()) != order.tolist() != rows.tolist()
        assert not torch.equal(pairs[0][0], pairs[2][0])  # each draw has examples of its own

    def test_angles_and_cosines_are_means_over_pairs(self):
        pairs = [(draw(6, 2, seed=seed), draw(6, 3, seed=seed, name="y") ** 2) for seed in range(3)]
        found = similarity.mean_angles(pairs)
        for flavour in similarity.FLAVOURS:
            of_pairs = [angles(flavour, pair)[0, 1] for pair in pairs]
            assert found[flavour]["angle"] == pytest.approx(np.mean(of_pairs), abs=1e-9)
            row = metric(f"cka-linear-{flavour}")
            chances = [float(row.space.chance(row.point(x), row.point(y))) for x, y in pairs]
            assert found[flavour]["chance"] == pytest.approx(np.mean(chances), abs=1e-12)

    def test_rank_correlations_are_those_of_scipy(self):
        for seed in range(5):
            first, second = draw(7, seed=seed).numpy(), draw(7, seed=seed, name="y").numpy()
            expected = spearmanr(first, second).statistic
            assert similarity.rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)


class TestLaws:
    def test_a_way_by_a_third_point_is_not_shorter(self):
        sides = torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [5.0, 2.0, 0.0]])
        assert laws.triangle_excess(sides) == 2.0
        assert laws.triangle_excess(torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])) == 0.0
        assert laws.triangle_excess(1.0 - torch.eye(4)) == -1.0

    @pytest.mark.parametrize("name", similarity.INVARIANCES)
    def test_changes_are_of_their_kind(self, name):
        x = draw(9, 4)
        other = laws.changed(x, name, generator=rng.stream(1))
        assert not torch.allclose(other, x, atol=0.1)
        kept = {each.name for each in METRICS if each.distance(x, other) < 1e-7}
        assert kept == {each.name for each in METRICS if name in each.invariances}

    def test_unknown_changes_are_refused(self):
        with pytest.raises(ValueError, match="unknown invariance 'affine'; there are permutation, orthogonal, scaling"):
            laws.changed(draw(3, 2), "affine", generator=rng.stream(0))

    def test_points_out_of_place_are_seen(self):
        class Rushing(Flat):
            def geodesic(self, first, second, share):
                return super().geodesic(first, second, share**2)

        a, b = torch.zeros(2), torch.tensor([3.0, 4.0])
        assert laws.uneven(Flat(), a, b, 0.3) == pytest.approx(0.0, abs=1e-7)
        assert laws.uneven(Rushing(), a, b, 0.3) == pytest.approx(0.3 - 0.09, abs=1e-7)

    def test_a_projection_that_stops_short_is_seen(self):
        class Early(Flat):
            def project(self, point, first, last):
                found = super().project(point, first, last)
                return found._replace(distance=float(self.distance(point, first)))

        a, b, point = (torch.tensor(each, dtype=torch.float64) for each in ([0, 0], [4, 0], [1, 2]))
        assert laws.nearer(Flat(), point, a, b) == pytest.approx(0.0, abs=1e-12)
        assert laws.nearer(Early(), point, a, b) == pytest.approx(math.sqrt(5.0) - 2.0, abs=1e-12)

    def test_departures_are_shares_of_the_largest_distance(self):
        """A metric that is longer by 1 in one direction, and whose geodesics rush."""

        class Uphill(Flat):
            def distance(self, first, second):
                return super().distance(first, second) + float(second.norm() > first.norm() + 1e-9)

            def geodesic(self, first, second, share):
                return super().geodesic(first, second, share**2)

        row = dataclasses.replace(metric("stress"), embed=lambda layer: layer[0], space=Uphill())
        layers = [
            torch.tensor([each, [0.0, 0.5]], dtype=torch.float64) for each in ([3.0, 0.0], [3.0, 4.0], [9.0, 8.0])
        ]
        found = laws.departures(row, layers, generator=rng.stream(3))
        sides = {"short": 4.0 + 1.0, "long": math.sqrt(52) + 1.0, "whole": 10.0 + 1.0}
        assert found["triangle"] == pytest.approx((sides["whole"] - sides["short"] - sides["long"]) / sides["whole"])
        assert found["symmetry"] == pytest.approx(1.0 / sides["whole"])
        assert found["changes"].keys() == set(similarity.INVARIANCES)
        reached = (0.3**2 * math.sqrt(52) + 1.0) / sides["long"]
        assert found["uneven"] == pytest.approx(0.3 - reached)
        bare = laws.departures(dataclasses.replace(row, geodesics=False), layers, generator=rng.stream(3))
        assert math.isnan(bare["uneven"]) and math.isnan(bare["nearer"])
        assert bare["changes"] == found["changes"]


CONFIG = TrainConfig(steps=30, batch_size=32, lr=0.05, precision="portable")
DATA = DataSpec("digits", train_examples=300)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def found(store):
    runs = experiments.runs.replicas(models.parse("mlp-3", 12), DATA, CONFIG, 2, save_at=(0,))
    options = {"images": (16, 40), "shuffles": 3, "test_examples": 90}
    return runs, [sweeps.obtain(store, GeometrySpec(run, **options)).values for run in runs]


class TestNetworks:
    def test_every_layer_is_seen_and_networks_differ(self, found):
        _, (one, other) = found
        assert one["units"] == [64, 12, 12, 12, 10]
        assert one["trained"] != other["trained"]
        assert one["untrained"] != one["trained"]

    def test_distances_to_the_labels_are_those_of_matrices(self, found, store):
        runs, (one, _) = found
        here = GeometrySpec(runs[0], test_examples=90).setting()
        state = experiments.runs.obtain_run(store, runs[0]).final
        weights, biases = (
            [state[name].numpy() for name in sorted(state) if kind in name] for kind in ("weight", "bias")
        )
        path = [here.inputs("test").flatten(1).numpy()]
        for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            value = path[-1] @ weight.T + bias
            path.append(np.maximum(value, 0.0) if place < 3 else value)
        labels = np.eye(10)[here.splits["test"].labels.numpy()]
        for flavour in similarity.FLAVOURS:
            expected = angles(flavour, [torch.from_numpy(each) for each in (*path, labels)])[-1, :-1]
            assert one["trained"]["target"][f"cka-linear-{flavour}"] == pytest.approx(expected, abs=1e-7)

    def test_laws_hold_and_what_is_not_declared_does_not(self, found, store):
        runs, _ = found
        specs = {(place,): LawSpec(run, test_examples=70) for place, run in enumerate(runs)}
        measured = experiments.measure(store, specs)
        for each in METRICS:
            own = metric_laws.summary(measured, each.name)
            assert max(own["triangle"], own["symmetry"], own["declared"]) < 1e-9, each.name
            assert own["others"] > 1e-3 or len(each.invariances) == 5, each.name
            assert math.isnan(own["uneven"]) == math.isnan(own["nearer"]) == (not each.geodesics)
            if each.geodesics:
                assert own["uneven"] < 1e-7
                assert own["nearer"] < 1e-7
            worst = max(values[each.name]["changes"]["orthogonal"] for values in measured.values.values())
            assert own["declared"] >= worst

    def test_bias_is_that_of_chance_and_shrinks_with_images(self, found):
        _, (one, _) = found
        own = one["trained"]["unrelated"]
        short = math.pi / 2 - np.array(own["gretton"]["angle"])
        assert short[0] > short[1] > 0.02
        # Two draws of pairs each of three shuffles: the mean cosine scatters by about a tenth of its value.
        assert np.sin(short) == pytest.approx(own["gretton"]["chance"], rel=0.4)
        assert own["song"]["chance"] == [0.0, 0.0]

    def test_order_is_a_rank_correlation_with_other_images(self, found, store):
        runs, (one, _) = found
        spec = GeometrySpec(runs[0], test_examples=90)
        here = spec.setting()
        path = here.path(experiments.runs.obtain_run(store, runs[0]).final, "test")
        labels, expected = here.targets("test"), {"true": [], "shuffled": []}
        for draw_ in range(3):
            stream = rng.stream(0, "geometry", "order", 40, draw_, runs[0].init_seed)
            rows, shuffle = torch.randperm(90, generator=stream), torch.randperm(90, generator=stream)
            for how, target in (("true", labels), ("shuffled", labels[shuffle])):
                ranks = []
                for flavour, part in (("gretton", rows[:40]), ("song", rows[40:])):
                    ends = angles(flavour, [*(each[part] for each in path), target[part]])[-1, :-1]
                    ranks.append(ends.argsort().argsort())
                expected[how].append(np.corrcoef(ranks)[0, 1])
        own = one["trained"]["order"]["gretton"]
        assert {how: each[1] for how, each in own.items()} == pytest.approx(
            {how: np.mean(each) for how, each in expected.items()}, abs=1e-8
        )

    def test_the_worst_of_all_networks_is_told(self):
        def network(worst, linear, scaling):
            changes = dict.fromkeys(similarity.INVARIANCES, worst) | {"linear": linear, "scaling": scaling}
            return {"shape-euclidean": {"triangle": -worst, "symmetry": 2 * worst, "changes": changes,
                                        "uneven": None, "nearer": 3 * worst}}  # fmt: skip

        found = Found(2, {(0,): network(0.1, 0.7, 0.9), (1,): network(0.2, 0.8, 0.6)})
        told = metric_laws.summary(found, "shape-euclidean")
        expected = {"triangle": -0.1, "symmetry": 0.4, "nearer": 0.6, "declared": 0.2, "others": 0.6}
        assert {name: told[name] for name in expected} == pytest.approx(expected)
        assert math.isnan(told["uneven"])


class TestFeatureMaps:
    def test_are_read_in_three_ways(self):
        maps = torch.arange(2 * 3 * 1 * 2).reshape(2, 3, 1, 2)
        assert similarity.read(maps, "flattened").tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
        assert similarity.read(maps, "pooled").tolist() == [[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]]
        assert similarity.read(maps, "pixels").tolist() == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]
        with pytest.raises(ValueError, match="one of the ways flattened, pooled, pixels, not 'tiled'"):
            similarity.read(maps, "tiled")

    def test_distances_are_to_the_labels_of_the_same_images(self, store):
        run = experiments.runs.replicas(models.parse("resnet-8", 4), DATA, CONFIG, 2, save_at=(0,))[0]
        values = sweeps.obtain(store, MapSpec(run, test_examples=40)).values
        assert [len(each) for each in values["trained"].values()] == [7, 7, 7]
        here, final = MapSpec(run, test_examples=40).setting(), experiments.runs.obtain_run(store, run).final
        third = list(here.maps(final, here.inputs("test")).values())[3]
        assert third.shape == (40, 8, 4, 4)
        labels = torch.eye(10, dtype=torch.float64)[here.splits["test"].labels]
        of_pixels = labels[torch.arange(40 * 16) // 16]
        expected = {
            "flattened": angles("song", [third.reshape(40, 128), labels])[0, 1],
            "pooled": angles("song", [third.sum((2, 3)), labels])[0, 1],
            "pixels": angles("song", [third.permute(0, 2, 3, 1).reshape(640, 8), of_pixels])[0, 1],
        }
        assert {name: each[3] for name, each in values["trained"].items()} == pytest.approx(expected, abs=1e-7)


class TestEvidence:
    def test_is_of_trained_networks_with_angles_from_the_right_angle(self):
        def network(short, order):
            flavours = {
                name: {"angle": [math.pi / 2 - short * factor, 9.0]}
                for name, factor in (("gretton", 1.0), ("lange", 0.5), ("song", -0.25))
            }
            orders = {"gretton": {"true": [9.0, order], "shuffled": [9.0, -order]}}
            target = {each.name: [0.1, 0.2, 0.3, 0.4] for each in METRICS}
            target |= {"stress": [0.9, 0.5, 0.2, 0.1], "shape-angular": [0.1, 0.3, 0.2, 0.9]}
            return {"trained": {"unrelated": flavours, "order": orders, "target": target}}

        found = Found(3, {(place,): network(*each) for place, each in enumerate([(0.2, 0.9), (0.4, 0.8), (0.3, 0.4)])})
        values = {name: each.value for name, each in geometry.evidence(found).items()}
        expected = {"gretton": 0.3, "lange": 0.15, "song": -0.075, "song beyond": 0.075, "order": 0.7}
        assert {name: values[name] for name in expected} == pytest.approx(expected)
        assert [values[name] for name in ("stress", "shape-angular", "cka-linear-song", "bures")] == pytest.approx(
            [-1.0, 0.8, 1.0, 1.0]
        )
        assert geometry.evidence(found, "shuffled")["order"].value == pytest.approx(-0.7)

    def test_of_maps_is_what_pooling_gains_in_one_state(self):
        def maps(gain):
            return {"pooled": [1.5, 9.0, 1.0 - gain], "flattened": [1.0, 9.0, 1.2]}

        gains = {"trained": (0.1, 0.3, 0.2), "untrained": (-0.1, -0.5, -0.9)}
        networks = [dict(zip(gains, map(maps, each), strict=True)) for each in zip(*gains.values(), strict=True)]
        found = Found(3, {(place,): each for place, each in enumerate(networks)})
        assert feature_maps.evidence(found)["maps"].value == pytest.approx(0.5 + 0.2 + 0.2)
        assert feature_maps.evidence(found, "untrained")["maps"].value == pytest.approx(0.5 + 0.2 - 0.5)
