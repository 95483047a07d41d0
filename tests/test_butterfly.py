"""What the claims about perturbed trainings ask of twins, on measurements made up by law."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from lmc_lib import experiments, rng
from lmc_lib.claims.simulation import exchanged
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.perturbation import Perturbation, growth_exponents

STEPS, SIZES = (0, 10, 50), (1e-4, 1e-3, 1e-2)
PARENTS = 6
WATCH = [0, 1, 2, 5, 10, 20, 30, 60]


def made_up(barrier, distances=None, **more):
    """One record of a pair of twins."""
    scores = {f"{split} {quantity}": barrier for split in ("train", "test") for quantity in ("loss", "error")}
    distances = [1.0] * len(WATCH) if distances is None else list(distances)
    return {"barriers": {"none": scores}, "distance": {"steps": WATCH, "whole": distances}} | more


def grid(barrier_of, growth_of=lambda size: np.ones(len(WATCH))):
    """Twins whose barriers follow a law of step and perturbation, with some scatter between parents."""
    one = Perturbation(0.01, weights=1)
    perturbations = [*(Perturbation(size) for size in (*SIZES, 1.0)), one]
    scatter = np.exp(0.05 * rng.numpy_stream(0, "scatter").standard_normal(PARENTS))
    return Twins(
        {
            Cell(step, push): [
                [made_up(factor * barrier_of(step, push), push.size * growth_of(push.size))] for factor in scatter
            ]
            for step in STEPS
            for push in perturbations
        }
    )


def as_published(step, push):
    """Saturated at the start, gone at the end but for pushes as large as the initialisation."""
    if push.weights is not None:
        return 0.7 if step == 0 else 0.0
    return {0: 1.0, 10: 0.1}.get(step, 0.5 if push.size >= 1 else 0.0)


ONSET = {"steps": STEPS, "sizes": SIZES, "large": 1.0}


def test_published_barriers_give_the_published_ratios():
    found = grid(as_published)
    one = Perturbation(0.01, weights=1)
    start, later = (experiments.butterfly.start_evidence(found, step=step, one=one) for step in (0, 50))
    assert start.keys() == later.keys() == {"one weight, start"}
    assert start["one weight, start"].value == pytest.approx(0.7, rel=0.1)
    assert later["one weight, start"].value == 0.0
    onset = experiments.butterfly.onset_evidence(found, **ONSET)
    assert onset["start"].value == pytest.approx(1.0, rel=0.1)
    assert onset["sizes"].value == 1.0
    assert onset["fall"].value == pytest.approx(10.0)
    assert onset["rest"].value == onset["late, largest"].value == 0.0
    assert onset["late, large"].value == pytest.approx(0.5, rel=0.1)
    assert onset["fall"].count("parent") == "6 parents"


def test_sizes_are_the_largest_over_the_smallest_at_the_start():
    """Neither the largest barrier over the lowest nor the reverse, and not at another step."""
    at_start = {1e-4: 0.4, 1e-3: 2.0, 1e-2: 1.2}
    law = lambda step, push: at_start.get(push.size, 0.9) / (1 + step * push.size)  # noqa: E731 -- a law in a line
    found = experiments.butterfly.onset_evidence(grid(law), **ONSET)
    # Parents scatter alike at all sizes, which a ratio cancels.
    assert found["sizes"].triple == pytest.approx((3.0, 3.0, 3.0))
    assert found["start"].value == pytest.approx(0.4, rel=0.1)


def test_over_nothing_counts_as_over_the_floor():
    found = grid(lambda step, push: 1.0 if step == 0 else 0.0)
    assert experiments.butterfly.onset_evidence(found, **ONSET)["fall"].value == pytest.approx(1000, rel=0.1)


def test_a_linear_system_has_one_exponent_for_all_sizes_and_times():
    steps = np.array(WATCH)
    saturated = lambda size: np.minimum(np.exp(0.2 * steps), 20 / size)  # noqa: E731 -- a law in a line
    found = experiments.butterfly.onset_evidence(grid(as_published, saturated), **ONSET)
    assert found["nonlinearity"].value == pytest.approx(1.0)
    assert found["earlier exponent"].value == pytest.approx(0.2)
    assert found["later exponent"].value == pytest.approx(0.2)


def test_growth_that_depends_on_size_and_time_is_seen():
    steps = np.array(WATCH)
    # The largest size has no part in it.
    rates = {1e-4: 0.2, 1e-3: 0.05, 1e-2: 0.4}
    law = lambda size: np.exp(rates.get(size, 0.0) * steps + 0.004 * np.minimum(steps, 30) ** 2)  # noqa: E731
    found = experiments.butterfly.onset_evidence(grid(as_published, law), **ONSET)
    assert found["nonlinearity"].value == pytest.approx(np.exp(0.15 * 10))
    assert found["later exponent"].value > found["earlier exponent"].value + 0.02


@pytest.mark.parametrize(("smallest", "following"), [(0.05, 0.2), (0.2, 0.05)])
def test_nonlinearity_says_which_size_grows_faster(smallest, following):
    """Below 1 where the smallest size grows less than the next, as where it has farther to go."""
    rates, steps = {1e-4: smallest, 1e-3: following}, np.array(WATCH)
    law = lambda size: np.exp(rates.get(size, 0.3) * steps)  # noqa: E731 -- a law in a line
    found = experiments.butterfly.onset_evidence(grid(as_published, law), **ONSET)["nonlinearity"]
    assert found.triple == pytest.approx((np.exp(10 * (smallest - following)),) * 3)
    assert (found.value < 1.0) == (smallest < following)


@pytest.mark.parametrize(("logs", "exponents"), [
    # Half of the way lies behind the first step, and before the last one: each half still has three, or two, points.
    ([0.0, 9.0, 9.5, 10.0, 10.5], (4.75, 0.5)),
    ([0.0, 0.5, 1.0, 1.5, 10.0], (0.5, 8.5)),
    ([0.0, 1.0, 2.0, 5.0, 8.0, 11.0], (2.0, 3.0)),
])  # fmt: skip
def test_each_half_of_the_way_has_room_for_a_slope(logs, exponents):
    distances = np.exp(np.array([*logs, 20.0]))  # the last is that at the end
    found = growth_exponents(np.arange(len(distances)), distances[None, None])
    assert found[0, 0] == pytest.approx(exponents)


def test_exponents_need_room():
    """Twins that are far apart from the first step on do not grow."""
    found = growth_exponents(np.array(WATCH), np.ones((2, 1, len(WATCH))))
    assert np.isnan(found).all()
    assert "earlier exponent" not in experiments.butterfly.onset_evidence(grid(as_published), **ONSET)


def test_directions_are_compared_at_equal_size():
    values = {}
    for size in (1e-4, 1e-2):
        noise = [[made_up(0.1), made_up(0.3)] for _ in range(PARENTS)]
        values[Cell(10, Perturbation(size))] = noise
        values[Cell(10, Perturbation(size, "batch"))] = [[made_up(0.1 + 20 * size)] for _ in range(PARENTS)]
    options = {"step": 10, "small": 1e-4, "large": 1e-2}
    found = experiments.butterfly.direction_evidence(Twins(values), **options)
    assert found["noise"].value == pytest.approx(0.2)  # all children count
    assert found["noise"].count("parent") == "6 parents (12 twins)"
    assert found["large"].value == pytest.approx(1.5)
    assert found["small"].value == pytest.approx(0.51)
    # The control compares second children after noise with first ones.
    control = experiments.butterfly.direction_evidence(Twins(values), direction="gaussian", **options)
    assert control["large"].value == control["small"].value == pytest.approx(3.0)


def aligned(raw, matched, planted, undone, stay, activations=9.0):
    record = made_up(raw, fixed_points={"weights, random start": stay})
    ways = {"weights": matched, "activations": activations, "planted": planted, "undone": undone}
    record["barriers"] |= {way: {"train loss": value} for way, value in ways.items()}
    return [[record] for _ in range(PARENTS)]


def test_what_matching_keeps_is_measured_on_the_same_twins():
    cells = [Cell(0, Perturbation(1e-3)), Cell(10, Perturbation(1e-3))]
    near = aligned(0.05, 0.05, 2.0, 0.05, stay=0.9)
    found = {
        "sgd": Twins({cells[0]: aligned(1.0, 0.8, 4.0, 1.0, stay=0.4), cells[1]: near}),
        "adamw": Twins({cells[0]: aligned(5.0, 5.0, 9.0, 0.9, stay=0.1, activations=0.5), cells[1]: near}),
    }
    plain = experiments.butterfly.alignment_evidence(found, cells)
    assert plain["sgd, kept"].value == pytest.approx(0.8)
    # A search by weights that stays where it starts says nothing: the lower barrier counts.
    assert plain["adamw, kept"].value == pytest.approx(0.1)
    assert plain["stay"].value == pytest.approx(0.9)  # only the twins that did not part count
    planted = experiments.butterfly.alignment_evidence(found, cells, planted=True)
    assert planted["sgd, raw"].value == pytest.approx(2.0)  # of those that did not part
    assert planted["sgd, kept"].value == pytest.approx(0.025)


def test_where_all_twins_parted_none_tells_how_many_units_stay():
    cell = Cell(0, Perturbation(1e-3))
    found = {"sgd": Twins({cell: aligned(1.0, 0.8, 4.0, 1.0, stay=0.4)})}
    assert experiments.butterfly.alignment_evidence(found, [cell]).keys() == {"sgd, raw", "sgd, kept"}


def test_settings_are_compared_with_the_base_at_their_own_steps():
    def setting(start, early, step):
        values = {Cell(0, Perturbation(1e-3)): start, Cell(step, Perturbation(1e-3)): early}
        return Twins({cell: [[made_up(value)] for _ in range(PARENTS)] for cell, value in values.items()})

    found = {"base": setting(1.0, 0.2, 10), "wide": setting(0.1, 0.0, 40)}
    steps = {"base": (0, 10), "wide": (0, 40)}
    evidence = experiments.butterfly.hyperparameter_evidence(found, steps=steps, size=1e-3)
    assert evidence["wide, start"].value == pytest.approx(10.0)
    assert evidence["wide, early"].value == pytest.approx(200.0)
    assert evidence["wide, fall"].value == pytest.approx(100.0)
    assert evidence["base, fall"].value == pytest.approx(5.0)
    assert evidence["wide, barrier"].value == pytest.approx(0.1)
    assert "base, start" not in evidence


def related(strength):
    """Twins whose barrier, gain and disagreement follow distance and angle, more or less."""
    generator = rng.numpy_stream(0, "related")
    cells = [Cell(step, Perturbation(size)) for step in (0, 10) for size in SIZES]
    values = {}
    for cell in cells:
        rows = []
        for far in generator.random(PARENTS):
            close = strength * far + (1 - strength) * generator.random()
            scores = {
                who: {"test loss": value}
                for who, value in {"parent": 1.0, "child": 1.2, "ensemble": 1.1 - close}.items()
            }
            rows.append(
                [made_up(close, [far] * len(WATCH), angles=[0.0, far], scores=scores, disagreement={"classes": close})]
            )
        values[cell] = rows
    return Twins(values), cells


def over_all(found, cells):
    """The rank correlation of distance and barrier over all cells together."""
    return spearmanr(*(np.ravel([get(cell) for cell in cells]) for get in (found.distance, found.barriers))).statistic


def test_related_quantities_are_seen_and_shuffled_ones_are_not():
    found, cells = related(1.0)
    apart = experiments.butterfly.distance_evidence(found, cells)
    together = experiments.butterfly.representation_evidence(found, cells)
    assert apart.keys() == {"within"}
    assert together.keys() == {"gain", "disagreement"}
    for estimate in (apart["within"], together["gain"], together["disagreement"]):
        assert estimate.value == pytest.approx(1.0)
        # The control: the made-up twins of different parents have nothing to do with each other.
        other = exchanged(estimate.study, "shuffle", 0.0, np.random.default_rng(0)).estimate()
        assert other.low < 0 < other.high
        assert other.value < 0.5


def test_gain_and_disagreement_are_told_apart():
    """Where angles rise with the gain and fall with disagreement, the signs say which is which."""
    found, cells = related(1.0)
    turned = {
        cell: [
            [each | {"disagreement": {"classes": 1.0 - each["disagreement"]["classes"]}} for each in row]
            for row in found.values[cell]
        ]
        for cell in cells
    }
    evidence = experiments.butterfly.representation_evidence(Twins(turned), cells)
    assert (evidence["gain"].value, evidence["disagreement"].value) == pytest.approx((1.0, -1.0))


def test_angles_that_are_the_same_everywhere_say_nothing():
    found, cells = related(1.0)
    same = {cell: [[each | {"angles": [0.0, 0.3]} for each in row] for row in found.values[cell]] for cell in cells}
    with pytest.raises(ValueError, match="the statistic is nan"):
        experiments.butterfly.representation_evidence(Twins(same), cells)


def test_what_time_alone_brings_together_is_not_related_within_a_cell():
    """Distance and barrier both fall with the step, and have nothing to do with each other beside that."""
    generator = rng.numpy_stream(0, "time alone")
    values = {
        Cell(step, Perturbation(size)): [
            [made_up(generator.random() + 10 - step, [generator.random() + 10 - step] * len(WATCH))] for _ in range(12)
        ]
        for step in range(4)
        for size in SIZES
    }
    assert over_all(Twins(values), list(values)) > 0.8
    found = experiments.butterfly.distance_evidence(Twins(values), list(values))["within"]
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.3


def test_unrelated_quantities_have_no_correlation():
    found, cells = related(0.0)
    value = experiments.butterfly.representation_evidence(found, cells)["gain"]
    assert value.low < 0 < value.high
