"""Networks and habits of other people: any precision, wrappings, what they keep, and inputs that prove nothing."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from lmc_lib import connecting, connectivity, rng, state, symmetry
from lmc_lib.data import Split
from lmc_lib.symmetry import SymmetryError
from lmc_lib.symmetry.proof import random_weights
from lmc_lib.symmetry.units import Units
from lmc_lib.training import TrainConfig

# Sums of at most a few thousand float64 terms in another order: 1e-14 of their spread, with some room.
ROUNDING = 1e-12


def images(*shape):
    return torch.randn(*shape, generator=rng.stream(0, "foreign"), dtype=torch.float64)


def built(build, *arguments):
    """Torch's layers draw their weights from the global stream, which the tests must leave where it was."""
    with torch.random.fork_rng(devices=[]):
        return build(*arguments)


def perceptron():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


class Recurrent(nn.Module):
    """A network in float32 whose state, and a constant that is no buffer, have a precision of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.shift = torch.linspace(0, 1, 4)

    def forward(self, x):
        state = torch.zeros(len(x), 6)
        for _ in range(2):
            state = torch.tanh(self.first(x) + self.first(self.shift[None]) + self.inner(state))
        return self.last(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_networks_of_any_precision_are_proved_in_double_precision(dtype):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Complex modules are a new feature", UserWarning)
        model = built(perceptron).to(dtype)
    x = images(5, 4).to(dtype)
    spec = symmetry.proven_spec(model, x, generator=rng.stream(0))
    assert dict(spec.sizes) == {"0": 6}
    assert symmetry.prove(model, spec, x, generator=rng.stream(1)) <= ROUNDING


def test_states_that_a_network_makes_itself_are_in_double_precision_too():
    model, x = built(Recurrent), images(5, 4).float()
    spec = symmetry.permutation_spec(model, x)
    assert dict(spec.sizes) == {"first": 6}
    assert symmetry.prove(model, spec, x, generator=rng.stream(0)) <= ROUNDING
    assert model.shift.dtype == torch.float32


class Constant(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.first, self.last, self.inputs = nn.Linear(4, 6), nn.Linear(6, 3), inputs

    def forward(self, x):
        return self.last(torch.tanh(self.first(self.inputs(x))))


@pytest.mark.parametrize(
    ("inputs", "x"),
    [
        (torch.ones_like, images(5, 4)),
        (lambda x: 1e-12 * x, images(5, 4)),
        (lambda x: x, images(1, 4).expand(5, 4)),
        (lambda x: x, images(1, 4)),
    ],
    ids=["ignored", "hardly used", "all the same", "one"],
)
def test_outputs_that_do_not_depend_on_the_inputs_prove_nothing(inputs, x):
    model = built(Constant, inputs)
    spec = symmetry.permutation_spec(model, x)
    with pytest.raises(SymmetryError, match="do not depend on these inputs, which proves nothing; give a batch"):
        symmetry.prove(model, spec, x, generator=rng.stream(0))


def test_weights_under_which_a_narrow_network_is_dead_are_drawn_again():
    model, x = (
        built(lambda: nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))),
        images(5, 4),
    )
    spec = symmetry.permutation_spec(model, x)
    for seed in range(10):
        assert symmetry.prove(model, spec, x, generator=rng.stream(seed), draws=1) <= ROUNDING
        assert symmetry.proven_spec(model, x, generator=rng.stream(seed), draws=1).sizes == spec.sizes


def test_an_output_that_does_not_depend_on_the_inputs_stands_beside_others():
    class Both(Constant):
        def forward(self, x):
            logits = super().forward(x)
            return logits, logits.softmax(-1).sum(-1)

    model, x = built(Both, torch.tanh), images(5, 4)
    spec = symmetry.permutation_spec(model, x)
    permutation, state = symmetry.identity(spec), model.state_dict()
    assert symmetry.function_change(model, state, permutation, spec, x) <= ROUNDING


class Keeping(nn.Module):
    """Keeps what it computed last, as an attribute and in a list."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.all = nn.Linear(4, 6), nn.Linear(6, 3), []

    def forward(self, x):
        self.hidden = torch.tanh(self.first(x))
        self.all.append(self.hidden)
        return self.last(self.hidden)


def with_an_old_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("build", [Keeping, with_an_old_norm])
def test_networks_that_keep_what_they_computed_are_traced(build):
    model, x = built(build).double(), images(5, 4)
    model(x)
    spec = symmetry.permutation_spec(model, x)
    assert list(spec.sizes.values()) == [6]
    assert symmetry.prove(model, spec, x, generator=rng.stream(0)) <= ROUNDING


class Opaque(nn.Module):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle a socket")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: nn.Sequential(nn.DataParallel(nn.Linear(4, 3))),
            "^0 is a DataParallel, .* give its attribute `module`",
        ),
        (lambda: nn.DataParallel(nn.Linear(4, 3)), "^the network is a DataParallel"),
        (Opaque, "^Opaque cannot be copied: cannot pickle a socket; give one that was made anew"),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name(build, message):
    with pytest.raises(SymmetryError, match=message):
        symmetry.permutation_spec(built(build), torch.zeros(2, 4))


def test_a_scripted_network_is_refused_by_name():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scripted = torch.jit.script(built(nn.Linear, 4, 3))
    with pytest.raises(SymmetryError, match=r"is a RecursiveScriptModule, .* give the network that it was made from"):
        symmetry.permutation_spec(scripted, torch.zeros(2, 4))


def test_networks_and_states_in_place_of_each_other_are_refused():
    # Elsewhere in the tests such a call ends at the checks of types, which users do not have.
    program = """
import torch
from lmc_lib import symmetry
model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
spec = symmetry.permutation_spec(model, torch.zeros(2, 4))
still = symmetry.identity(spec)
for call in (
    lambda: symmetry.permutation_spec(model.state_dict(), torch.zeros(2, 4)),
    lambda: symmetry.permute(model, still, spec),
    lambda: symmetry.function_change(model, model, still, spec, torch.randn(5, 4)),
):
    try:
        call()
    except symmetry.SymmetryError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    state = "a state is a dictionary of tensors, as `state_dict()` gives it, but this is a Sequential"
    assert done.stdout.splitlines() == ["a network is a torch.nn.Module, but this is a OrderedDict", state, state]


def test_inputs_that_a_network_does_not_take_are_refused_by_the_proof():
    model = built(perceptron)
    spec = symmetry.permutation_spec(model, torch.zeros(2, 4))
    with pytest.raises(SymmetryError, match="Sequential cannot be called with these inputs in float64: mat1"):
        symmetry.prove(model, spec, images(5, 7), generator=rng.stream(0))


def test_activations_of_another_size_than_traced_are_refused_with_both_sizes():
    def build():
        layers = nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(320, 4), nn.Tanh(), nn.Linear(4, 2)
        return nn.Sequential(*layers)

    model = built(build)
    spec = symmetry.permutation_spec(model, torch.zeros(2, 3, 8, 8))
    weights = model.state_dict()
    assert all(len(each) == 7 for each in spec.observe(weights, torch.zeros(7, 3, 8, 8)).values())
    with pytest.raises(
        SymmetryError, match=r"cannot be observed: .* here \(3, 16, 12\) for one example, not \(3, 8, 8\)"
    ):
        spec.observe(weights, torch.zeros(7, 3, 16, 12))


def test_shares_of_no_units_are_refused():
    spec = symmetry.permutation_spec(built(nn.Linear, 4, 3), torch.zeros(2, 4))
    still = symmetry.identity(spec)
    for share in (
        lambda: symmetry.fixed_points(still),
        lambda: symmetry.agreement(still, still),
        lambda: symmetry.chance_agreement(spec),
    ):
        with pytest.raises(SymmetryError, match="a network without groups has no units"):
            share()
    with pytest.raises(SymmetryError, match="group 1 stands only in one of the permutations"):
        symmetry.agreement(still, {"1": torch.arange(2)})


def test_a_pair_of_itself_and_another_has_no_parts():
    units = Units()
    nodes = units.fresh(3)
    pairs = units.pair(nodes, units.fresh(3))
    units.unify(pairs, nodes)
    assert units.parts(nodes) is None


class Keeping(nn.Module):
    """Keeps a table of its weights from the first call in evaluation until it is trained, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.gains = nn.Linear(4, 6), nn.Linear(6, 3), nn.Parameter(torch.rand(6))
        self.kept = {}

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.kept = {}
        return self

    def forward(self, x):
        gains = self.gains.exp() if self.training else self.kept.setdefault("gains", self.gains.exp())
        return self.last(torch.tanh(gains * self.first(x)))


def test_what_a_network_keeps_of_other_weights_is_forgotten():
    model, x = built(Keeping).eval(), images(5, 4)
    first, second = random_weights(model, rng.stream(0)), random_weights(model, rng.stream(1))
    model(x.float())  # keeps a table of the weights that it was made with
    spec = symmetry.permutation_spec(model, x)
    assert dict(spec.sizes) == {"gains": 6}  # and no table that keeps its places
    assert symmetry.prove(model, spec, x, generator=rng.stream(0)) <= ROUNDING
    found = [state.apply(model, weights, x) for weights in (first, second)]
    for weights, logits in zip((first, second), found, strict=True):
        fresh = built(Keeping).double().eval()
        fresh.load_state_dict(weights)
        torch.testing.assert_close(logits, fresh(x), rtol=1e-12, atol=1e-12)
    split = Split(x, torch.tensor([0, 1, 2, 0, 1]))
    line = connectivity.curves(model, first, second, {"test": split}, points=3)["test"]
    for alpha, loss in zip((0.0, 0.5, 1.0), line.loss.tolist(), strict=True):
        fresh.load_state_dict(state.interpolate(first, second, alpha))
        fresh.train().eval()
        assert loss == pytest.approx(nn.functional.cross_entropy(fresh(x), split.labels).item(), rel=1e-12)


def test_layers_keep_the_mode_in_which_they_are():
    model = nn.Sequential(built(Keeping), nn.Dropout(), nn.Sequential(built(Keeping), nn.BatchNorm1d(3)))
    model.train()
    model[2].eval()
    model[0].last.eval()
    modes = [each.training for each in model.modules()]
    model[2][0].kept = {"gains": torch.ones(6)}
    state.forget_(model)
    assert [each.training for each in model.modules()] == modes
    assert model[2][0].kept == {}


class Deep(nn.Module):
    """Layers whose outputs forget the inputs under weights of one size, or whose degree doubles with each layer."""

    def __init__(self, depth, step):
        super().__init__()
        self.layers, self.step = nn.ModuleList(nn.Linear(12, 12) for _ in range(depth)), step

    def forward(self, x):
        for layer in self.layers:
            x = self.step(layer, x)
        return x[:, :3]


@pytest.mark.parametrize(
    ("depth", "step"),
    [(60, lambda layer, x: torch.tanh(layer(x))), (9, lambda layer, x: x + layer(x) * layer(x))],
    ids=["forgets its inputs", "outgrows its digits"],
)
def test_weights_of_another_size_are_drawn_where_those_of_one_prove_nothing(depth, step):
    model, x = built(Deep, depth, step), images(6, 12)
    spec = symmetry.permutation_spec(model, x)
    assert symmetry.prove(model, spec, x, generator=rng.stream(0)) <= 1e-10


class Reader(nn.Module):
    """A classifier of token ids with attention, which keeps a table of its weights while it is not trained."""

    def __init__(self):
        super().__init__()
        self.words, self.attention = nn.Embedding(7, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.inner = Keeping()

    def forward(self, tokens):
        stream = self.words(tokens)
        return self.inner((stream + self.attention(stream, stream, stream, need_weights=False)[0]).mean(1))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch, of attention under vmap
def test_curves_planes_and_simplices_of_foreign_networks_are_those_of_their_points():
    model = built(Reader)
    states = [random_weights(model, rng.stream(seed)) for seed in range(3)]
    split = Split(torch.randint(7, (9, 5), generator=rng.stream(0, "tokens")), torch.arange(9) % 3)

    def loss(weights):
        fresh = built(Reader).double()
        fresh.load_state_dict(state.combine(states, weights))
        return nn.functional.cross_entropy(fresh.eval()(split.inputs), split.labels).item()

    bend = connectivity.bezier_weights(torch.linspace(0, 1, 5))
    curve = connectivity.path(model, states, bend, {"all": split})["all"]
    assert curve.loss.tolist() == pytest.approx([loss(each) for each in bend.tolist()], rel=1e-10)
    corners = connectivity.barycentric(3, 2)
    found = connectivity.simplex(model, states, {"all": split}, resolution=2)["all"]
    assert found.loss.tolist() == pytest.approx([loss(each) for each in corners.tolist()], rel=1e-10)
    plane = connectivity.plane(model, states, {"all": split}, points=3)["all"]
    assert plane.loss.shape == (3, 3)
    points = state.flattened(states)
    logits = connectivity.predict_points(model, points, states[0], split.inputs)
    for each, weights in zip(logits, states, strict=True):
        torch.testing.assert_close(each, connectivity.predict(model, weights, split.inputs), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # torch, of attention under vmap
def test_a_bend_is_trained_between_foreign_networks():
    model = built(Reader).double()
    states = [random_weights(model, rng.stream(seed)) for seed in range(2)]
    split = Split(torch.randint(7, (9, 5), generator=rng.stream(0, "tokens")), torch.arange(9) % 3)
    ends = state.flattened(states)
    middle = ends.mean(0, keepdim=True)

    def draw(generator):
        return connectivity.bezier_weights(torch.rand(1, generator=generator, dtype=torch.float64))[:, [0, 2, 1]]

    config = TrainConfig(steps=40, batch_size=9, lr=0.1, precision="portable")
    bend = connecting.train_vertices(model, middle, ends[None, None], states[0], split, config, draw=draw, seeds=[3])

    def mean_loss(vertex):
        corners = [states[0], state.shaped(vertex, states[0]), states[1]]
        positions = connectivity.bezier_weights(torch.linspace(0, 1, 7))
        return connectivity.path(model, corners, positions, {"all": split})["all"].loss.mean()

    assert mean_loss(bend[0]) < mean_loss(middle[0])
