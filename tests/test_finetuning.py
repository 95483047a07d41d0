"""Fine-tuned networks: they begin with the weights of another training, and count as trainings like all others."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lmc_lib import experiments, models, rng, state, sweeps
from lmc_lib.claims.simulation import exchanged
from lmc_lib.data import Dataset, DataSpec, Split
from lmc_lib.experiments.networks import runs
from lmc_lib.experiments.networks.children import ChildSpec
from lmc_lib.experiments.networks.runs import CheckpointSpec, RunSpec
from lmc_lib.experiments.stability.twins import Cell, Twins
from lmc_lib.models import ModelSpec
from lmc_lib.perturbation import Perturbation
from lmc_lib.store import Store, describe, fingerprint
from lmc_lib.training import Diverged, TrainConfig

MANY = DataSpec("digits", train_examples=64, test_examples=40, classes=range(7))
FEW = DataSpec("digits", train_examples=64, test_examples=40, classes=(7, 8, 9))
MODEL = ModelSpec("mlp", 6, 2)
FIRST = TrainConfig(steps=6, batch_size=32, lr=0.1, warmup=2, precision="portable")
THEN = dataclasses.replace(FIRST, steps=4)
OPTIONS = {"points": 3, "train_examples": 40, "test_examples": 30, "matching_examples": 32, "feature_examples": 20}
NOISE = Perturbation(0.05)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def pretraining(model=MODEL, data=MANY, **options):
    return RunSpec(model, data, dataclasses.replace(FIRST, **options), 11, 12, save_at=(0, 2))


def tuned(step=2, model=MODEL, before=MANY, after=FEW, then=THEN, **options):
    first = pretraining(model, before, **options)
    return RunSpec(model, after, then, 5, 6, spawn_at=(0, 1), pretrained=CheckpointSpec(first, step))


@pytest.mark.parametrize("precision", ["portable", "float32"])
@pytest.mark.parametrize(
    "model", [MODEL, ModelSpec("mlp", 6, 2, "batch"), ModelSpec("resnet", 4, 8, "batch"), ModelSpec("vgg", 2, 11)]
)
@pytest.mark.parametrize(("before", "after"), [(MANY, FEW), (FEW, MANY)])
def test_the_body_is_the_checkpoint_to_the_bit_and_the_head_is_fresh(store, model, precision, before, after):
    spec = tuned(2, model, before, after, dataclasses.replace(THEN, precision=precision), precision=precision)
    start = experiments.runs.obtain_run(store, spec).at(0)
    first = experiments.runs.obtain_run(store, spec.pretrained.run).at(2)
    scratch = experiments.runs.obtain_run(store, dataclasses.replace(spec, pretrained=None)).at(0)
    head = models.classifier(runs.architecture(spec))
    assert len(head) == 2
    assert start.keys() == first.keys()
    assert all(torch.equal(start[name], first[name]) for name in start.keys() - head)
    assert all(torch.equal(start[name], scratch[name]) for name in head)
    assert {len(start[name]) for name in head} == {len(after.classes)}
    assert {len(first[name]) for name in head} == {len(before.classes)}


def test_a_head_of_the_same_shape_is_fresh_too(store):
    spec = tuned(6, after=DataSpec("digits", train_examples=64, classes=range(6, -1, -1)))
    start, first = (
        experiments.runs.obtain_run(store, spec).at(0),
        experiments.runs.obtain_run(store, spec.pretrained.run).final,
    )
    head = models.classifier(runs.architecture(spec))
    differing = {name for name in start if not torch.equal(start[name], first[name])}
    assert differing == head


def test_the_step_counts_and_no_step_of_pretraining_is_none(store):
    ends = [state.fingerprint(experiments.runs.obtain_run(store, tuned(step)).final) for step in (0, 2, 6)]
    assert len(set(ends)) == 3
    # A pre-training with the seed of the fine-tuning, taken before its first update, is no pre-training at all.
    own = dataclasses.replace(pretraining(), init_seed=5)
    idle = experiments.runs.obtain_run(store, dataclasses.replace(tuned(), pretrained=CheckpointSpec(own, 0)))
    scratch = experiments.runs.obtain_run(store, dataclasses.replace(tuned(), pretrained=None))
    assert state.fingerprint(idle.final) == state.fingerprint(scratch.final)


def test_the_optimiser_of_the_pretraining_is_forgotten(store):
    """At the start of fine-tuning there is no momentum, although there was some where the weights are from."""
    kept = dataclasses.replace(pretraining(), spawn_at=(2,))
    spec = dataclasses.replace(tuned(), pretrained=CheckpointSpec(kept, 2))
    assert any(bool(value.any()) for value in experiments.runs.obtain_run(store, kept).memory(2).values())
    assert not any(bool(value.any()) for value in experiments.runs.obtain_run(store, spec).memory(0).values())


def test_only_steps_of_the_trajectory_can_be_taken():
    with pytest.raises(ValueError, match=r"no checkpoint at step 3: the training keeps one at 0, 2, 6 \(save_at\)"):
        CheckpointSpec(pretraining(), 3)
    assert CheckpointSpec(dataclasses.replace(pretraining(), spawn_at=(3,)), 3).step == 3


def test_another_architecture_and_other_images_are_refused(store, monkeypatch):
    with pytest.raises(ValueError, match=r"fine-tuned as it is: .*width=6, depth=2.*width=6, depth=3"):
        dataclasses.replace(tuned(), model=ModelSpec("mlp", 6, 3))
    small = Split(torch.zeros(64, 1, 4, 4), torch.arange(64) % 3)
    found = {FEW: Dataset("digits", small, small, 3, torch.zeros(0, dtype=torch.long))}
    original = runs.dataset
    monkeypatch.setattr(runs, "dataset", lambda spec: found.get(spec) or original(spec))
    experiments.runs.obtain_run(store, pretraining())
    with pytest.raises(
        ValueError, match=r"1.weight is \[6, 64\] in the pre-trained network, but \[6, 16\] in this one"
    ):
        tuned().compute(store)


def test_a_pretraining_that_diverged_is_recorded_as_such(store):
    spec = tuned(6, lr=1e200)
    values = sweeps.obtain(store, spec).values["diverged"]
    assert values["in"] == "pre-training"
    with pytest.raises(Diverged) as first:
        experiments.runs.obtain_run(store, spec.pretrained.run)
    assert values["step"] == first.value.step
    with pytest.raises(Diverged):
        experiments.runs.obtain_run(store, spec)
    twins = experiments.twins.grid([spec], [Cell(0, NOISE)], **OPTIONS)
    assert experiments.twins.measure(store, twins).diverged(Cell(0, NOISE)) == 1


def test_nothing_stored_moves_by_the_new_fields():
    """Fields at their default are no part of an address."""
    assert describe(RunSpec(MODEL, MANY, THEN)).keys() == {"type", "version", "model", "data", "train"}
    assert fingerprint(tuned(2)) != fingerprint(tuned(6)) != fingerprint(dataclasses.replace(tuned(), pretrained=None))


def test_a_sweep_trains_what_fine_tuning_needs_first(store):
    fresh = Store(store.root.with_name("sweep"))
    spec = experiments.twins.TwinSpec(ChildSpec(tuned(), 1, NOISE), **OPTIONS)
    assert tuned().needs == (pretraining(),)
    assert pretraining().needs == ()
    sweeps.fill(fresh, [spec], workers=1)
    assert all(fresh.has(each) for each in (pretraining(), tuned(), spec.child, spec))


@pytest.mark.parametrize("step", [0, 1])
def test_twins_of_a_fine_tuned_network_are_like_all_others(store, step):
    still = Cell(step)
    cells = [still, Cell(step, NOISE)]
    found = experiments.twins.measure(store, experiments.twins.grid([tuned(), tuned(6)], cells, **OPTIONS))
    assert not found.distance(still).any()
    assert not found.barriers(still, "test", "loss").any()
    assert (found.distance(cells[1]) > 0).all()
    expected = 0.05 * np.sqrt(2 * 6 + 2 * 6 + 2 * 3)  # fan-in times units cancels
    assert found.of(cells[1], "perturbation", "norm") == pytest.approx(expected, rel=1e-6)


def test_replicas_share_what_they_should():
    options = {"save_at": (0, 2, 6), "spawn_at": (0, 1)}
    scratch, short, long = (
        experiments.finetuning.fine_tuned(MODEL, MANY, FEW, FIRST, THEN, 3, length=length, **options)
        for length in (0, 2, 6)
    )
    assert [run.pretrained for run in scratch] == [None] * 3
    assert [run.pretrained.step for run in (*short, *long)] == [2, 2, 2, 6, 6, 6]
    assert [run.pretrained.run for run in short] == [run.pretrained.run for run in long]
    for rows in zip(scratch, short, long, strict=True):
        assert len({(run.init_seed, run.order_seed, run.data, run.train, run.spawn_at) for run in rows}) == 1
    seeds = [run.init_seed for run in scratch] + [run.pretrained.run.init_seed for run in short]
    assert len(set(seeds)) == 6
    with pytest.raises(ValueError, match="no checkpoint at step 3"):
        experiments.finetuning.fine_tuned(MODEL, MANY, FEW, FIRST, THEN, 3, length=3, **options)


# -- evidence ----------------------------------------------------------------------------------------------------------

LENGTHS = (0, 10, 100)
CELLS = [Cell(0, Perturbation(0.01)), Cell(0, Perturbation(0.001))]
PARENTS = 6


def made_up(barrier_of, distance_of):
    """Twins whose barriers follow a law of direction and length, with some scatter between parents."""
    generator = rng.numpy_stream(0, "scatter")
    found = {}
    for way in ("many to few", "few to many"):
        for length in LENGTHS:
            cells = {}
            for cell in CELLS:
                barriers = barrier_of(way, length) * np.exp(0.05 * generator.standard_normal(PARENTS))
                barriers *= 1.0 if cell == CELLS[0] else 50.0  # what is not judged must not count
                cells[cell] = [
                    [{"barriers": {"none": {"train loss": each}}, "distance": {"whole": [0.0, distance_of(each)]}}]
                    for each in barriers
                ]
            found[way, length] = Twins(cells)
    return found


def as_claimed(way, length):
    """Few classes are twice as easy; pre-training helps tenfold from many to few, and a little the other way."""
    help_ = {0: 1.0, 10: 2.0, 100: 10.0} if way == "many to few" else {0: 1.0, 10: 1.1, 100: 1.25}
    return (0.5 if way == "many to few" else 1.0) / help_[length]


def test_made_up_barriers_give_their_ratios():
    found = experiments.finetuning.evidence(made_up(as_claimed, lambda each: each), CELLS, lengths=LENGTHS)
    values = {name: each.value for name, each in found.items()}
    expected = {
        "direction": 0.8 / 0.05,
        "task": 2.0,
        "beyond the task": 8.0,
        "many to few, none": 0.5,
        "many to few, longest": 0.05,
        "many to few, gain": 10.0,
        "many to few, longer": 5.0,
        "few to many, none": 1.0,
        "few to many, longest": 0.8,
        "few to many, gain": 1.25,
        "few to many, longer": 1.25 / 1.1,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=0.1), name
        assert found[name].low <= values[name] <= found[name].high
    assert values["many to few, within"] == values["few to many, within"] == pytest.approx(1.0)


def test_networks_under_the_other_end_of_lengths_turn_the_ratios_of_the_ends():
    found = made_up(as_claimed, lambda each: each)
    other = {0: 100, 10: 10, 100: 0}
    swapped = {(way, length): found[way, other[length]] for way, length in found}
    plain, turned = (experiments.finetuning.evidence(each, CELLS, lengths=LENGTHS) for each in (found, swapped))
    for way in ("many to few", "few to many"):
        assert turned[f"{way}, gain"].value == pytest.approx(1 / plain[f"{way}, gain"].value)
        assert turned[f"{way}, none"].value == plain[f"{way}, longest"].value
        # The shortest over none, where it was the shortest over the longest.
        expected = plain[f"{way}, longer"].value / plain[f"{way}, gain"].value
        assert turned[f"{way}, longer"].value == pytest.approx(expected)
    assert (turned["direction"].value, turned["task"].value) == (plain["task"].value, plain["direction"].value)
    assert turned["beyond the task"].value == pytest.approx(1 / plain["beyond the task"].value)


@pytest.mark.parametrize("name", ["direction", "task", "many to few, gain", "few to many, gain", "few to many, longer"])
def test_exchanged_settings_differ_by_chance_alone(name):
    """The control: what is compared changes places in half of the parents, once its ratio is divided out."""
    found = experiments.finetuning.evidence(made_up(as_claimed, lambda each: each), CELLS, lengths=LENGTHS)[name]
    assert found.low > 1.05
    generator = np.random.default_rng(0)
    controls = [exchanged(found.study, "swap", 1.0, generator) for _ in range(25)]
    control = sorted(controls, key=lambda each: each.of_all())[12].estimate()
    assert control.low < 1.0 < control.high < 1.3


def test_what_direction_and_length_bring_together_is_not_related_within_cells():
    """Barriers differ between cells by far more than within them, and distances follow the cell alone."""
    generator = rng.numpy_stream(0, "unrelated")
    unrelated = made_up(as_claimed, lambda each: 10 ** round(np.log10(each)) + generator.random())
    found = experiments.finetuning.evidence(unrelated, CELLS, lengths=LENGTHS)
    assert found["many to few, within"].low < 0.2 < 0.9 > found["many to few, within"].high


def test_one_pretrained_network_beside_random_weights():
    """The ratio of the judged push, distances over all pushes of the pre-trained, and the reverse for a control."""
    twins = made_up(as_claimed, lambda each: each)
    random, pretrained = twins["many to few", 0], twins["many to few", 100]
    found = experiments.finetuning.pretrained_evidence(random, pretrained, CELLS)
    assert found.keys() == {"random", "pre-trained", "gain", "within"}
    assert found["random"].value == np.median(random.barriers(CELLS[0]))
    assert found["pre-trained"].value == np.median(pretrained.barriers(CELLS[0]))
    assert found["gain"].value == pytest.approx(found["random"].value / found["pre-trained"].value)
    assert found["gain"].low > 5.0
    assert found["within"].value == pytest.approx(1.0)
    turned = experiments.finetuning.pretrained_evidence(pretrained, random, CELLS)
    assert turned["gain"].value == pytest.approx(1 / found["gain"].value)


def test_pushes_of_other_sizes_make_a_correlation_but_none_within():
    """Barrier and distance are both larger for one of the pushes; among its twins they have nothing in common."""
    generator = rng.numpy_stream(0, "unrelated")
    twins = made_up(as_claimed, lambda each: 10 ** round(np.log10(each)) * (1.0 + 0.1 * generator.random()))
    pretrained = twins["many to few", 100]
    over_all = spearmanr(
        *(np.ravel([get(each) for each in CELLS]) for get in (pretrained.distance, pretrained.barriers))
    )
    found = experiments.finetuning.pretrained_evidence(twins["many to few", 0], pretrained, CELLS)
    assert over_all.statistic > 0.5 > found["within"].value
