"""RESET: statistics of BatchNorm against a computation by hand and against torch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from lmc_lib import models, norms, rng, state


def inputs(count, *shape, name="inputs"):
    return torch.randn(count, *shape, generator=rng.stream(0, "norms", name), dtype=torch.float64)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_reset_gives_the_averages_over_batches_of_mean_and_unbiased_variance(random_weights):
    model = models.mlp(3, 2, widths=(5,), norm="batch")
    weights = random_weights(model)
    x = inputs(12, 3)
    result = norms.reset(model, weights, x, batch_size=4)
    before = (x @ weights["1.weight"].T + weights["1.bias"]).split(4)
    means = torch.stack([batch.sum(0) / 4 for batch in before])
    variances = torch.stack([((batch - batch.sum(0) / 4) ** 2).sum(0) / 3 for batch in before])
    # Sums of a dozen terms below 10; the running average over three batches rounds a few times more.
    torch.testing.assert_close(result["2.running_mean"], means.mean(0), rtol=0, atol=1e-14)
    torch.testing.assert_close(result["2.running_var"], variances.mean(0), rtol=1e-13, atol=0)


@pytest.mark.parametrize("family", ["vgg", "resnet"])
def test_reset_equals_torchs_update_bn(family, random_weights):
    model = models.build(models.ModelSpec(family, 2, {"vgg": 11, "resnet": 8}[family], "batch"), (2, 8, 8), 3)
    weights, x = random_weights(model), inputs(24, 2, 8, 8)
    oracle = copy.deepcopy(model).double()
    oracle.load_state_dict(weights)
    update_bn(x.split(8), oracle)
    assert same(norms.reset(model, weights, x, batch_size=8), oracle.state_dict())


def test_reset_changes_statistics_alone(random_weights):
    model = models.resnet(1, 3, depth=8, width=2)
    weights = random_weights(model)
    result = norms.reset(model, weights, inputs(8, 1, 8, 8), batch_size=8)
    changed = {name for name in weights if not torch.equal(result[name], weights[name])}
    assert changed == {name for name in weights if name.endswith(("running_mean", "running_var", "batches_tracked"))}


def test_reset_forgets_the_old_statistics(random_weights):
    model = models.resnet(1, 3, depth=8, width=2)
    weights, x = random_weights(model), inputs(16, 1, 8, 8)
    other = {name: value * 3 if "running" in name else value for name, value in weights.items()}
    once = norms.reset(model, weights, x, batch_size=8)
    assert same(norms.reset(model, other, x, batch_size=8), once)
    assert same(norms.reset(model, once, x, batch_size=8), once)


def test_reset_leaves_out_an_incomplete_batch(random_weights):
    model = models.mlp(3, 2, widths=(5,), norm="batch")
    weights, x = random_weights(model), inputs(11, 3)
    assert same(norms.reset(model, weights, x, batch_size=4), norms.reset(model, weights, x[:8], batch_size=4))


@pytest.mark.parametrize("training", [True, False])
def test_reset_leaves_its_arguments_alone(training, random_weights):
    model = models.mlp(3, 2, widths=(5,), norm="batch").train(training)
    weights, x = random_weights(model), inputs(8, 3)
    before = [state.fingerprint(each) for each in (weights, model.state_dict(), {"x": x})]
    norms.reset(model, weights, x, batch_size=4)
    assert [state.fingerprint(each) for each in (weights, model.state_dict(), {"x": x})] == before
    assert model.training == training
    assert model[2].momentum == 0.1


@pytest.mark.parametrize("norm", ["none", "layer", "group"])
def test_network_without_statistics_keeps_its_weights(norm, random_weights):
    model = models.mlp(3, 2, widths=(4,), norm=norm)
    weights = random_weights(model)
    result = norms.reset(model, weights, inputs(1, 3))
    assert not norms.has_statistics(model)
    assert same(result, weights)
    assert result is not weights


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), True),
        (nn.Sequential(nn.Sequential(nn.BatchNorm2d(2, affine=False))), True),
        (nn.BatchNorm1d(2, track_running_stats=False), False),
    ],
)
def test_statistics_are_those_that_batch_normalisation_keeps(model, expected):
    assert norms.has_statistics(model) is expected


def test_examples_fewer_than_a_batch_are_one_batch(random_weights):
    model = models.mlp(3, 2, widths=(4,), norm="batch")
    weights, x = random_weights(model), inputs(7, 3)
    assert same(norms.reset(model, weights, x), norms.reset(model, weights, x, batch_size=7))


@pytest.mark.parametrize("count", [0, 1])
def test_reset_needs_two_examples(count, random_weights):
    model = models.mlp(3, 2, widths=(4,), norm="batch")
    with pytest.raises(ValueError, match=f"at least two examples, got {count}"):
        norms.reset(model, random_weights(model), inputs(count, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reset_runs_in_the_dtype_of_the_weights_as_evaluation_does(dtype, random_weights):
    # Data sets are loaded in float32, weights drawn in float64.
    model = models.mlp(3, 2, widths=(4,), norm="batch")
    weights, x = random_weights(model), inputs(8, 3).float()
    result = norms.reset(model, state.cast(weights, dtype), x, batch_size=4)
    assert result["2.running_mean"].dtype == dtype
    # float32 errs by 1e-7 of values below 10.
    torch.testing.assert_close(
        result["2.running_mean"].double(),
        norms.reset(model, weights, x.double(), batch_size=4)["2.running_mean"],
        rtol=0,
        atol=1e-5,
    )
