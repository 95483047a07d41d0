"""Children of a training: equal to their parent unless moved, and measured against it."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lmc_lib import connectivity, experiments, state, sweeps, symmetry
from lmc_lib.alignment import line_barriers
from lmc_lib.connectivity import Curve
from lmc_lib.data import DataSpec
from lmc_lib.experiments.networks.children import ChildSpec, spawn_point
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.experiments.setting import setting
from lmc_lib.experiments.stability.twins import Cell
from lmc_lib.models import ModelSpec
from lmc_lib.perturbation import Perturbation
from lmc_lib.similarity import layer_angles
from lmc_lib.store import Store
from lmc_lib.training import Diverged, TrainConfig

DATA = DataSpec("digits", train_examples=96, test_examples=60)
TRAIN = TrainConfig(steps=9, batch_size=32, lr=0.1, warmup=2, precision="portable")
STEPS = (0, 4)
OPTIONS = {"points": 5, "train_examples": 60, "test_examples": 50, "matching_examples": 32, "feature_examples": 20}
NOISE = Perturbation(0.05)
CELLS = [Cell(0), Cell(4), Cell(0, NOISE), Cell(4, NOISE), Cell(4, Perturbation(0.05, "batch")), Cell(4, NOISE, True)]


def parent(seed=0, **options):
    config = dataclasses.replace(TRAIN, **options)
    return RunSpec(ModelSpec("mlp", 6, 2), DATA, config, seed, seed, save_at=(2, 6), spawn_at=STEPS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def grid():
    return experiments.twins.grid([parent(0), parent(1)], CELLS, children=2, save_at=(0, 2, 6), **OPTIONS)


@pytest.fixture(scope="module")
def found(store, grid):
    return experiments.twins.measure(store, grid)


@pytest.mark.parametrize("options", [{}, {"optimiser": "adamw", "lr": 0.01}, {"precision": "float32"}])
@pytest.mark.parametrize("step", STEPS)
def test_a_child_that_was_not_moved_is_its_parent_to_the_bit(store, options, step):
    spec = ChildSpec(parent(**options), step, Perturbation(0.0), save_at=(6,))
    child, perturbation = experiments.children.obtain_child(store, spec)
    trunk = experiments.runs.obtain_run(store, spec.parent)
    assert state.fingerprint(child.final) == state.fingerprint(trunk.final)
    assert state.fingerprint(child.at(6)) == state.fingerprint(trunk.at(6))
    assert perturbation == {"intended": 0, "norm": 0, "changed": 0, "moved": 6 * 64 + 36 + 60}


def test_measuring_does_not_part_twins(store, found):
    """Evaluation between parent and child must not draw from what training draws from."""
    assert found.distance(Cell(0)).max() == 0
    fresh = Store(store.root.with_name("fresh"))
    spec = ChildSpec(parent(), 0, Perturbation(0.0))
    sweeps.obtain(fresh, experiments.twins.TwinSpec(spec, **OPTIONS))
    again = experiments.children.obtain_child(fresh, spec)[0].final
    assert state.fingerprint(again) == state.fingerprint(experiments.runs.obtain_run(store, parent()).final)


def test_twins_start_as_far_apart_as_the_perturbation_says(store, found):
    steps, distances = found.along(Cell(0, NOISE))
    assert steps.tolist() == [0, 2, 6, 9]
    assert distances[..., 0] == pytest.approx(found.of(Cell(0, NOISE), "perturbation", "norm"), rel=1e-8)
    expected = 0.05 * math.sqrt(2 * 6 + 2 * 6 + 2 * 10)  # sixty-four inputs, or six: fan-in times units cancels
    assert distances[..., 0] == pytest.approx(expected, rel=1e-6)
    assert found.distance(Cell(0, NOISE)) == pytest.approx(distances[..., -1])


def test_children_of_one_parent_differ_and_children_start_where_they_should(store):
    trunk = experiments.runs.obtain_run(store, parent())
    starts = [spawn_point(ChildSpec(parent(), 4, NOISE, seed=seed), trunk).state for seed in (0, 1)]
    assert state.distance(*starts) > 0.1
    assert state.distance(starts[0], trunk.at(4)) == pytest.approx(state.distance(starts[1], trunk.at(4)), rel=1e-6)


def test_the_batch_direction_is_a_gradient_at_the_parting_point(store):
    trunk = experiments.runs.obtain_run(store, parent())
    moved = spawn_point(ChildSpec(parent(), 4, Perturbation(1e-4, "batch")), trunk).state
    here = setting(parent(), train_examples=None, test_examples=8, matching_examples=8, reset_examples=8)
    before, after = (
        connectivity.evaluate(here.model, each, here.splits["train"]).loss for each in (trunk.at(4), moved)
    )
    noise = [spawn_point(ChildSpec(parent(), 4, Perturbation(1e-4), seed=seed), trunk).state for seed in range(3)]
    others = [connectivity.evaluate(here.model, each, here.splits["train"]).loss for each in noise]
    # The sign is that of the gradient: the loss rises, and more than in a random direction.
    assert after - before > 3 * max(abs(each - before) for each in others)


def test_a_fresh_order_parts_twins_that_were_not_moved(store):
    specs = [ChildSpec(parent(), 4, Perturbation(0.0), order_seed=seed) for seed in (None, 0, 77)]
    ends = [state.fingerprint(experiments.children.obtain_child(store, spec)[0].final) for spec in specs]
    assert ends[0] == ends[1] != ends[2]


def test_numbers_are_those_computed_by_hand(store, found, grid):
    cell = Cell(4, NOISE)
    spec = grid[cell][1][0]
    a, b = (
        experiments.runs.obtain_run(store, spec.child.parent).final,
        experiments.children.obtain_child(store, spec.child)[0].final,
    )
    here = setting(parent(), train_examples=60, test_examples=50, matching_examples=32, reset_examples=512)
    line = connectivity.curves(here.model, a, b, here.splits, points=5)
    for split in ("train", "test"):
        assert found.barriers(cell, split, "loss")[1, 0] == pytest.approx(line[split].barrier("loss"), abs=1e-8)
    code = line["test"].barrier("loss", convention="at_maximum")
    assert found.barriers(cell, "test", "loss", alignment="code")[1, 0] == pytest.approx(code, abs=1e-8)
    middle = connectivity.evaluate(here.model, state.interpolate(a, b, 0.5), here.splits["test"])
    assert found.of(cell, "scores", "merged", "test loss")[1, 0] == pytest.approx(middle.loss, abs=1e-8)
    logits = [state.apply(here.model.eval(), each, here.inputs("test")) for each in (a, b)]
    labels = here.splits["test"].labels
    both = (logits[0] + logits[1]) / 2
    loss = float(torch.nn.functional.cross_entropy(both, labels))
    assert found.of(cell, "scores", "ensemble", "test loss")[1, 0] == pytest.approx(loss, abs=1e-8)
    assert found.of(cell, "scores", "ensemble", "test error")[1, 0] == float((both.argmax(1) != labels).double().mean())
    other = float((logits[0].argmax(1) != logits[1].argmax(1)).double().mean())
    assert found.disagreement(cell)[1, 0] == pytest.approx(other, abs=1e-8)
    assert found.of(cell, "scores", "child", "test loss")[1, 0] == pytest.approx(
        connectivity.evaluate(here.model, b, here.splits["test"]).loss, abs=1e-8
    )


def test_twins_can_be_compared_as_they_are(store, found):
    """Without matching, all that needs none is the same, and nothing else is there."""
    cell = Cell(4, NOISE)
    bare = experiments.twins.grid([parent(0)], [cell], save_at=(0, 2, 6), matched=False, **OPTIONS)
    values = experiments.twins.measure(store, bare).values[cell][0][0]
    whole = found.values[cell][0][0]
    assert values["barriers"] == {name: whole["barriers"][name] for name in ("none", "code")}
    assert values["fixed_points"].keys() == {"chance"}
    assert values["scores"] == {who: whole["scores"][who] for who in ("parent", "child", "merged", "ensemble")}
    assert all(values[name] == whole[name] for name in ("perturbation", "distance", "angles", "disagreement"))


def test_running_statistics_are_no_weights(store):
    """Twins with batch normalisation are as far apart as their weights are."""
    run = dataclasses.replace(parent(), model=ModelSpec("mlp", 6, 2, "batch"))
    ((spec,),) = experiments.twins.grid([run], [Cell(0, NOISE)], save_at=(0, 2, 6), matched=False, **OPTIONS)[
        Cell(0, NOISE)
    ]
    values = experiments.twins.measure(store, {Cell(0): [[spec]]}).values[Cell(0)][0][0]["distance"]
    ends = experiments.runs.obtain_run(store, run).final, experiments.children.obtain_child(store, spec.child)[0].final
    names = {name for name, _ in experiments.runs.architecture(run).named_parameters()}
    assert values["layers"].keys() == names < ends[0].keys()
    squares = [float((ends[0][name] - ends[1][name]).square().sum()) for name in names]
    assert values["whole"][-1] == pytest.approx(math.sqrt(sum(squares)), rel=1e-6)


def test_a_planted_permutation_is_undone_by_matching(found):
    """The child is its parent, so that only the renumbering brings a barrier, and matching takes all of it away."""
    assert found.barriers(Cell(4), alignment="planted").min() > 1e-4
    assert found.barriers(Cell(4), alignment="undone").max() < 1e-9  # renumbering changes the order of sums


def test_estimates_are_the_medians_of_each_cell(found):
    cells = {"still": Cell(4), "pushed": Cell(0, NOISE)}
    estimates = found.estimates(cells)
    assert set(estimates) == {f"{split} {what}" for split in ("train", "test") for what in ("loss", "error")}
    for split, what in (("train", "loss"), ("test", "error")):
        assert list(estimates[f"{split} {what}"]) == list(cells)
        for name, cell in cells.items():
            assert estimates[f"{split} {what}"][name].value == np.median(found.barriers(cell, split, what))
    assert estimates["train loss"]["pushed"].count("parent") == "2 parents (4 twins)"
    assert estimates["train loss"]["still"].triple == (0.0, 0.0, 0.0)
    planted = found.estimates({"still": Cell(4)}, alignment="planted")["train loss"]["still"]
    assert planted.value == np.median(found.barriers(Cell(4), alignment="planted")) > 1e-4


def test_equal_twins_agree_in_everything(found):
    cell = Cell(4)
    for split in ("train", "test"):
        assert not found.barriers(cell, split, "loss").any()
        assert np.array_equal(
            found.of(cell, "scores", "ensemble", f"{split} loss"), found.of(cell, "scores", "parent", f"{split} loss")
        )
    assert not found.angle(cell).any()
    assert not found.disagreement(cell).any()
    assert (found.of(cell, "fixed_points", "weights") == 1).all()
    assert found.of(cell, "fixed_points", "chance") == pytest.approx(1 / 6)


def test_a_dead_layer_has_no_angle_and_says_so(store):
    """Units that are off for all examples give a representation without direction; the other measures stay."""
    run = dataclasses.replace(parent(lr=0.0), spawn_at=(4,))
    trunk = experiments.runs.obtain_run(store, run)
    dead = {name: -abs(value) if name == "3.weight" else value for name, value in trunk.final.items()}
    here = setting(run, train_examples=60, test_examples=50, matching_examples=32, reset_examples=512)
    angles = here.angles(trunk.final, dead, 20)
    assert angles[0] == 0
    assert np.isnan(angles[1])
    layers = [torch.eye(4, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)]
    either_way = [layer_angles(*pair) for pair in ((layers, layers[:1] * 2), (layers[:1] * 2, layers))]
    assert [np.isnan(each).tolist() for each in either_way] == [[False, True]] * 2
    values = {Cell(4): [[{"angles": angles}]]}
    assert np.isnan(experiments.twins.Twins(values).angle(Cell(4)))


def test_a_child_that_diverges_is_recorded_and_counted(store):
    wild = [Cell(4, Perturbation(size)) for size in (1e60, 1e120)]
    found = experiments.twins.measure(
        store, experiments.twins.grid([parent(0), parent(1)], [*wild, Cell(4, NOISE)], **OPTIONS)
    )
    for cell in wild:
        assert found.diverged(cell) == 2
        assert np.isnan(found.barriers(cell)).all()
    assert found.diverged(Cell(4, NOISE)) == 0
    layers = found.of([wild[0], Cell(4, NOISE)], "angles")  # the cells side by side, and NaN for every layer
    assert layers.shape == (2, 2, 2)
    assert np.isnan(layers[:, 0]).all()
    assert layers[:, 1].tolist() == found.of(Cell(4, NOISE), "angles")[:, 0].tolist()
    with pytest.raises(Diverged):
        experiments.children.obtain_child(store, ChildSpec(parent(), 4, Perturbation(1e120)))


def test_no_part_of_a_training_is_done_twice(store, grid, monkeypatch):
    """Every child starts from its parent's checkpoint: the updates add up to those behind the steps."""
    done = []
    from lmc_lib.training import loop

    original = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda config, step: done.append(step) or original(config, step))
    fresh = Store(store.root.with_name("count"))
    experiments.twins.measure(fresh, {cell: grid[cell] for cell in (Cell(0, NOISE), Cell(4, NOISE))})
    assert len(done) == 2 * (9 + 2 * 9 + 2 * 5)


def test_wrong_specs_are_refused(store):
    with pytest.raises(ValueError, match=r"cannot start at step 5: .* of 9 steps, .* at 0, 4 \(spawn_at\)"):
        ChildSpec(parent(), 5, NOISE)
    with pytest.raises(ValueError, match="no step"):
        ChildSpec(dataclasses.replace(parent(), spawn_at=()), 0, NOISE)
    with pytest.raises(ValueError, match="cannot keep a checkpoint at step 10: the training runs from 0 to 9"):
        dataclasses.replace(parent(), spawn_at=(10,)).compute(store)
    with pytest.raises(ValueError, match="points is odd"):
        experiments.twins.TwinSpec(ChildSpec(parent(), 4, NOISE), points=4)


def test_networks_with_batch_statistics_are_compared_after_reset(store):
    run = RunSpec(ModelSpec("mlp", 6, 2, "batch"), DATA, TRAIN, 0, 0, spawn_at=(4,))
    spec = experiments.twins.TwinSpec(ChildSpec(run, 4, NOISE), **OPTIONS | {"reset_examples": 64})
    values = sweeps.obtain(store, spec).values
    assert values["scores"]["parent"]["test loss"] > 0
    here = setting(run, train_examples=60, test_examples=50, matching_examples=32, reset_examples=64)
    trunk = experiments.runs.obtain_run(store, run).final
    logits = connectivity.predict(here.model, trunk, here.splits["test"].inputs, reset_inputs=here.reset_inputs)
    loss = float(torch.nn.functional.cross_entropy(logits, here.splits["test"].labels))
    assert values["scores"]["parent"]["test loss"] == pytest.approx(loss, rel=1e-6)
    assert symmetry.fixed_points(symmetry.identity(here.permutations)) == 1


@pytest.mark.parametrize(
    ("perturbation", "words"),
    [
        (Perturbation(0.01), "step 4, gaussian, size 0.01, weights all"),
        (Perturbation(1.0, "batch", weights=1), "step 4, batch, size 1, weights 1"),
    ],
)
def test_factors_say_how_a_child_was_perturbed(perturbation, words):
    spec = experiments.twins.TwinSpec(ChildSpec(parent(), 4, perturbation))
    assert spec.factors == words
    assert parent().factors == ""


def test_barriers_of_rounding_alone_are_none():
    """Two processors differ in the last bits of a loss, and so in what is left of a line without a barrier."""
    alphas, flat = torch.linspace(0, 1, 3, dtype=torch.float64), torch.full((3,), 0.25, dtype=torch.float64)
    bumps = {"train": 3e-14, "test": 2e-12}
    lines = {split: Curve(alphas, flat, flat + torch.tensor([0.0, bump, 0.0])) for split, bump in bumps.items()}
    found = line_barriers(lines)
    assert (found["train loss"], found["train error"]) == (0.0, 0.0)
    assert found["test error"] == pytest.approx(2e-12, rel=1e-3)
