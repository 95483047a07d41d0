"""Networks brought together without a store or a spec: a setting, made by hand, against the parts that it calls."""

import numpy as np
import pytest
import torch

from lmc_lib import alignment, connectivity, models, norms, rng, state, symmetry
from lmc_lib.alignment import Lines, Setting
from lmc_lib.data import Split
from lmc_lib.similarity import angular_cka


@pytest.fixture(scope="module")
def here():
    model = models.mlp(6, 3, widths=(5, 4), norm="batch").double()
    generator = rng.stream(0, "alignment", "examples")
    inputs = torch.randn(40, 1, 2, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)
    groups = symmetry.permutation_spec(model, inputs[:1])
    splits = {"train": Split(inputs[:25], labels[:25]), "test": Split(inputs[25:], labels[25:])}
    return Setting(model, groups, splits, inputs[:20], inputs[:20])


@pytest.fixture(scope="module")
def networks(here, random_weights):
    return [random_weights(here.model, seed) for seed in range(2)]


def test_statistics_are_estimated_anew_before_a_network_is_asked(here, networks):
    anew = norms.reset(here.model, networks[0], here.reset_inputs)
    split = here.splits["test"]
    expected = state.apply(here.model.eval(), anew, split.inputs)
    torch.testing.assert_close(here.logits(networks[0], "test"), expected)
    assert not torch.allclose(expected, state.apply(here.model.eval(), networks[0], split.inputs))
    assert here.scores(networks[0])["test"].loss == pytest.approx(connectivity.score(expected, split.labels).loss)
    assert here.scores(networks[0]).keys() == {"train", "test"}


def test_a_path_goes_from_the_inputs_over_the_activations_to_the_logits(here, networks):
    path = here.path(networks[0], "test")
    assert [each.shape for each in path] == [(15, 6), (15, 5), (15, 4), (15, 3)]
    torch.testing.assert_close(path[-1], state.apply(here.model.eval(), networks[0], here.inputs("test")))
    assert here.targets("test").argmax(1).tolist() == here.splits["test"].labels.tolist()
    others = here.path(networks[1], "test")
    expected = [angular_cka(*pair, flavour="lange") for pair in zip(path[1:-1], others[1:-1], strict=True)]
    assert here.angles(*networks, 15) == pytest.approx(expected)


def test_lines_have_equal_ends_and_the_middle_of_the_moved_network(here, networks):
    lines = Lines(here, *networks, 3)
    first = lines.under(symmetry.identity(here.permutations))
    permutation = symmetry.random(here.permutations, generator=rng.stream(1))
    second = lines.under(permutation)
    for split in ("train", "test"):
        assert first[split].loss[[0, 2]].tolist() == second[split].loss[[0, 2]].tolist()
    middle = state.interpolate(networks[0], here.permuted(networks[1], permutation), 0.5)
    assert alignment.scores_at(second, 1)["test loss"] == pytest.approx(here.scores(middle)["test"].loss)
    barriers = lines.barriers(permutation)
    assert barriers["train error"] == pytest.approx(max(second["train"].barrier("error"), 0.0))
    assert set(barriers) == {f"{split} {quantity}" for split, quantity in alignment.QUANTITIES}
    assert np.isfinite(list(barriers.values())).all()


# The ascent over weights of so few units may end at another maximum; the best of some attempts is the planted one.
@pytest.mark.parametrize(("method", "options"), [("weights", {"restarts": 30}), ("activations", {})])
def test_a_network_that_was_renumbered_is_brought_back(here, networks, method, options):
    planted = symmetry.random(here.permutations, generator=rng.stream(2))
    renumbered = here.permuted(networks[0], planted)
    found = here.match(method, networks[0], renumbered, generator=rng.stream(3), **options)
    back = here.features(here.permuted(renumbered, found), here.matching_inputs)
    # Units that are off for all examples may stay in each other's place: they are the same to activations.
    for node, seen in here.features(networks[0], here.matching_inputs).items():
        torch.testing.assert_close(back[node], seen)
    others = here.features(renumbered, here.matching_inputs)
    assert any(not torch.allclose(others[node], back[node]) for node in back)
