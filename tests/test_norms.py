"""RESET against a computation by hand and against torch's own; REPAIR: its law, its targets, a planted collapse."""

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


# -- REPAIR ------------------------------------------------------------------------------------------------------------


class Convolutions(nn.Module):
    """Three convolutions with a shortcut, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.third, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x + torch.relu(self.second(x))
        return self.head(torch.relu(self.third(x)).mean((2, 3)))


def perceptron():
    return models.mlp(6, 3, widths=(16, 16, 16, 16, 16, 16))


@pytest.fixture
def stream():
    """Torch's layers draw their weights from the global stream, which the tests must leave where it was."""
    with torch.random.fork_rng(devices=[]):
        yield


def ends_of(build, random_weights):
    model = build()
    start, end = (random_weights(model, each) for each in "ab")
    return model, start, end


REPAIRED = {"perceptron": (perceptron, (6,)), "convolutions": (Convolutions, (2, 5, 5))}


def preactivations(model, weights, x):
    """The outputs of every linear and convolutional layer, one row a unit, by the names of the layers."""
    found = {}
    network = copy.deepcopy(model).double()
    network.load_state_dict(weights)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            dim = 1 if isinstance(module, nn.Conv2d) else -1
            module.register_forward_hook(
                lambda _, __, out, name=name, dim=dim: found.update({name: out.movedim(dim, 0).flatten(1)})
            )
    with torch.no_grad():
        network(x)
    return found


@pytest.mark.parametrize("name", REPAIRED)
def test_at_the_ends_repair_changes_nothing(name, random_weights, stream):
    build, shape = REPAIRED[name]
    model, start, end = ends_of(build, random_weights)
    before = state.clone(start), state.clone(end)
    assert same(norms.repair(model, start, end, 0.0, inputs(30, *shape)), start)
    assert same(norms.repair(model, start, end, 1.0, inputs(30, *shape)), end)
    assert same(start, before[0])
    assert same(end, before[1])


@pytest.mark.parametrize("name", REPAIRED)
@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_statistics_of_all_units_but_the_outputs_are_those_of_the_ends(name, alpha, random_weights, stream):
    build, shape = REPAIRED[name]
    model, start, end = ends_of(build, random_weights)
    x = inputs(30, *shape)
    repaired = norms.repair(model, start, end, alpha, x)
    first, second, found = (preactivations(model, each, x) for each in (start, end, repaired))
    *hidden, last = found
    for layer in hidden:
        for statistic in (lambda rows: rows.mean(1), lambda rows: rows.std(1, correction=0)):
            wanted = (1 - alpha) * statistic(first[layer]) + alpha * statistic(second[layer])
            # Sums of at most 750 numbers of size 1, through six layers.
            torch.testing.assert_close(statistic(found[layer]), wanted, rtol=1e-12, atol=1e-12)
    middle = state.interpolate(start, end, alpha)
    names = {name for name in repaired if not torch.equal(repaired[name], middle[name])}
    assert names == {f"{layer}.{entry}" for layer in hidden for entry in ("weight", "bias")}
    assert last not in hidden


def test_a_planted_collapse_is_undone():
    # Six layers of two independent networks: halfway the deviation of a unit falls by the root of 2 with each layer.
    model, x = perceptron(), inputs(500, 6)
    start, end = (
        {
            name: torch.randn(value.shape, generator=rng.stream(0, each, name), dtype=torch.float64)
            * ((2.0 / value.shape[1]) ** 0.5 if value.dim() > 1 else 0.0)
            for name, value in model.state_dict().items()
        }
        for each in "ab"
    )

    def spreads(weights):
        *_, hidden, logits = preactivations(model, weights, x).values()
        return hidden.std(1).mean(), logits.std(1).mean()

    collapsed, repaired = state.interpolate(start, end, 0.5), norms.repair(model, start, end, 0.5, x)
    ends = (spreads(start)[0] + spreads(end)[0]) / 2
    assert spreads(collapsed)[0] < 0.3 * ends
    torch.testing.assert_close(spreads(repaired)[0], ends, rtol=1e-12, atol=0)
    assert spreads(repaired)[1] > 2 * spreads(collapsed)[1]


def test_a_single_layer_by_hand_and_a_constant_unit(stream):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    rest = {"1.weight": torch.ones(1, 2, dtype=torch.float64), "1.bias": torch.zeros(1, dtype=torch.float64)}

    def weights(rows, bias):
        return rest | {
            "0.weight": torch.tensor(rows, dtype=torch.float64), "0.bias": torch.tensor(bias, dtype=torch.float64),
        }  # fmt: skip

    # The first unit looks one way at one end and the other way at the other: halfway its deviation is root 2 smaller.
    start, end = weights([[1.0, 0.0], [0.0, 0.0]], [3.0, 1.0]), weights([[0.0, 1.0], [0.0, 0.0]], [5.0, 2.0])
    repaired = norms.repair(model, start, end, 0.5, x)
    torch.testing.assert_close(repaired["0.weight"], torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=x.dtype) * 2**0.5)
    torch.testing.assert_close(repaired["0.bias"], torch.tensor([4.0, 1.5], dtype=x.dtype))


def test_what_repair_cannot_serve_is_refused_by_name(random_weights, stream):
    model, start, end = ends_of(perceptron, random_weights)
    x = inputs(30, 6)
    with pytest.raises(ValueError, match="at least two examples, got 1"):
        norms.repair(model, start, end, 0.5, x[:1])
    with pytest.raises(ValueError, match="'head' is no linear or convolutional layer that is called; these are 1"):
        norms.repair(model, start, end, 0.5, x, layers=["head"])
    normed = models.mlp(6, 3, widths=(4,), norm="batch")
    with pytest.raises(ValueError, match="`reset` re-estimates them"):
        norms.repair(normed, *(random_weights(normed, each) for each in "ab"), 0.5, x)
    blind = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="0 has no bias"):
        norms.repair(blind, *(random_weights(blind, each) for each in "ab"), 0.5, x)
    layer = nn.Linear(6, 6)
    twice = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(6, 3))
    weights = [{name: value.detach() for name, value in copy.deepcopy(twice).state_dict().items()} for _ in "ab"]
    with pytest.raises(ValueError, match="0 is called 2 times"):
        norms.repair(twice, *weights, 0.5, x.float())
    tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    tied[1].weight = tied[0].weight
    weights = [{name: value.detach() for name, value in tied.state_dict().items()} for _ in "ab"]
    with pytest.raises(ValueError, match="0 shares its weights"):
        norms.repair(tied, *weights, 0.5, x.float())
