"""The published settings, tried for two steps on random images of the right shape."""

from dataclasses import replace

import pytest
import torch

from lmc_lib import definitions, matching, models, rng, symmetry, training
from lmc_lib.cli.parameters import parameters_of, resolve
from lmc_lib.cli.running import plan
from lmc_lib.data import Split
from lmc_lib.perturbation import Perturbation, gaussian_direction, perturb
from lmc_lib.state import fingerprint as fingerprint_of
from lmc_lib.store import fingerprint
from lmc_lib.training import TrainConfig

WEAK = definitions.profile("weak-connectivity", "paper")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "width", "options", "groups"),
    [
        (WEAK["plain"], WEAK["width"], WEAK["training"], 13),
        (WEAK["residual"]["network"], max(WEAK["residual"]["widths"]), WEAK["residual_training"], 12),
    ],
)
def test_published_networks_train_and_match(architecture, width, options, groups):
    spec = models.parse(architecture, width // 4)  # a quarter of the channels, for the time's sake
    model = models.build(spec, (3, 32, 32), 10)
    generator = rng.stream(0, "random images")
    images = Split(torch.randn(16, 3, 32, 32, generator=generator), torch.randint(10, (16,), generator=generator))
    config = TrainConfig(**options, precision=WEAK["precision"])
    assert fingerprint(config)  # the list of milestones is a value like any other
    short = replace(config, steps=2, warmup=1, milestones=(1,), batch_size=8)
    start = models.initialise(model, generator=rng.stream(0, "initial weights"))
    trained = training.train(model, start, images, short, seed=0).final
    axes = symmetry.permutation_spec(model, images.inputs)
    assert len(axes.sizes) == groups
    assert not axes.pinned
    found = matching.weight_matching(axes, trained, trained, generator=rng.stream(0, "order"), max_sweeps=1)
    assert symmetry.fixed_points(found) == 1.0  # a network is its own best match


def test_published_schedule_is_that_of_the_reference():
    config = TrainConfig(**WEAK["training"])
    rates = [training.learning_rate(config, epoch * 390) for epoch in (1, 79, 80, 119, 120, 159)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert config.steps == 160 * 390


@pytest.mark.slow
def test_the_published_perturbed_network_can_be_spawned(tmp_path):
    """A quarter of the channels, two updates, a child after the first of them."""
    published = definitions.profile("butterfly-onset", "paper")
    spec = models.parse(published["network"], published["width"] // 4)
    model = models.build(spec, (3, 32, 32), 10)
    generator = rng.stream(0, "random images")
    images = Split(torch.randn(16, 3, 32, 32, generator=generator), torch.randint(10, (16,), generator=generator))
    config = replace(TrainConfig(**published["training"]), steps=2, warmup=1, batch_size=8)
    start = models.initialise(model, generator=rng.stream(0, "initial weights"))
    parent = training.train(model, start, images, config, seed=0, save_at=[1])
    direction = gaussian_direction(parent.at(1), generator=rng.stream(0, "direction"))
    pushed = perturb(parent.at(1), direction, Perturbation(0.001), generator=rng.stream(0, "weights"))
    options = {"seed": 0, "start_step": 1, "memory": parent.memory(1)}
    twins = [training.train(model, each, images, config, **options).final for each in (parent.at(1), pushed.state)]
    assert fingerprint_of(twins[0]) == fingerprint_of(parent.final)
    assert fingerprint_of(twins[1]) != fingerprint_of(parent.final)


def test_the_published_network_can_be_fine_tuned_from_a_hundred_classes_to_ten():
    """A sixteenth of the channels; all but the last layer fits."""
    published = definitions.profile("butterfly-finetuning", "paper")
    spec = models.parse(published["network"], published["width"] // 16)
    many, few = (models.build(spec, (3, 32, 32), last + 1 - first) for first, last in published["classes"])
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (many, few)]
    assert {name for name in shapes[0] if shapes[0][name] != shapes[1][name]} == models.classifier(few)
    assert [{each[name][0] for name in models.classifier(few)} for each in shapes] == [{100}, {10}]
    first = TrainConfig(**published["training"] | published["pretraining"], precision=published["precision"])
    assert max(published["lengths"]) == first.steps
    assert first.warmup / first.steps == 0.025


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_text_is_fine_tuned_from_published_weights_and_nothing_is_planned_before(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("LMC_STORE", str(tmp_path))
    rows = plan("butterfly-text", profile=profile)
    assert {row["noun"] for row in rows} == {"networks", "children", "twins"}
    assert sum(row["noun"] == "networks" for row in rows) == 2 * resolve("butterfly-text", profile)["parents"]


def test_further_networks_are_trained_once_for_both_pages():
    # At the laptop scale the page on the onset has longer trainings, and no further networks.
    onset, alignment = (
        parameters_of(f"butterfly-{page}") | resolve(f"butterfly-{page}", "paper") for page in ("onset", "alignment")
    )
    assert onset["others"]
    trained = ("data", "train_examples", "parents", "training", "precision", "steps", "watch", "others")
    assert {name: onset[name] for name in trained} == {name: alignment[name] for name in trained}
    assert alignment["size"] == onset["sizes"][-1]


def test_pushes_come_at_the_published_shares_of_training():
    published = definitions.profile("butterfly-onset", "paper")
    steps = published["training"]["steps"]
    assert [step / steps for step in published["steps"]] == [0, 0.02, 0.1, 0.5]
    assert published["training"]["warmup"] / steps == 0.02
