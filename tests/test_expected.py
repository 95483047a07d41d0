"""Labels and states that are not what was expected: refused by what is wrong with them, wherever they are given."""

from inspect import unwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import (
    connectivity,
    difficulty,
    expected,
    matching,
    norms,
    perturbation,
    pruning,
    rng,
    similarity,
    state,
    symmetry,
    training,
)
from lmc_lib.data import Split
from lmc_lib.difficulty import predictions
from lmc_lib.symmetry import SymmetryError

NETWORK = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
STATE = {
    name: torch.randn(value.shape, generator=rng.stream(0, "expected", name))
    for name, value in NETWORK.state_dict().items()
}
INPUTS = torch.randn(6, 4, generator=rng.stream(0, "expected inputs"))
LOGITS = torch.randn(6, 3, generator=rng.stream(0, "expected logits"))
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
SPEC = symmetry.permutation_spec(NETWORK, INPUTS)

# Labels that people have, and what is said of them.
UNFIT = {
    "column": (LABELS[:, None], r"got int64 of shape \(6, 1\): labels.flatten\(\)"),
    "one-hot": (nn.functional.one_hot(LABELS), r"got int64 of shape \(6, 3\): labels.argmax\(1\)"),
    "floating": (LABELS.double(), r"whole numbers, got float64 of shape \(6,\): labels.long\(\)"),
    "missing": (torch.tensor([0.0, torch.nan, 1.0, 2.0, torch.nan, 0.0]), "2 are NaN or infinite"),
    "boolean": (LABELS > 0, r"whole numbers, got bool of shape \(6,\)"),
    "too few": (LABELS[:5], "6 examples and 5 labels"),
    "negative": (LABELS - 1, "example 0 has the label -1"),
}
OUTSIDE = (LABELS + torch.tensor([0, 0, 2, 0, 0, 0]), "classes from 0 to 2, and example 2 has the label 3")

# All that takes the labels of six examples of three classes.
TAKING = {
    "score": lambda labels: unwrap(connectivity.score)(LOGITS, labels),
    "grand": lambda labels: unwrap(difficulty.grand)(NETWORK, STATE, INPUTS, labels),
    "batch_direction": lambda labels: perturbation.batch_direction(NETWORK, STATE, INPUTS, labels),
    **{name: lambda labels, of=of: unwrap(of)(LOGITS, labels) for name, of in predictions.POINTWISE.items()},
}
COUNTING = {
    "Split": lambda labels: Split(INPUTS, labels),
    "straight_through": lambda labels: matching.straight_through(
        NETWORK, SPEC, STATE, STATE, INPUTS, labels, generator=rng.stream(0, "order"), steps=1
    ),
    "class_means": lambda labels: unwrap(similarity.collapse.class_means)(INPUTS, labels),
    "prototype_distance": lambda labels: unwrap(difficulty.prototype_distance)(INPUTS.numpy(), labels.numpy()),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("name", TAKING | COUNTING)
def test_labels_that_are_no_classes_are_refused_by_what_they_are(name, kind):
    labels, message = UNFIT[kind]
    with pytest.raises(ValueError, match=message):
        (TAKING | COUNTING)[name](labels)


@pytest.mark.parametrize("name", TAKING)
def test_a_label_beyond_the_classes_is_refused(name):
    labels, message = OUTSIDE
    with pytest.raises(ValueError, match=message):
        TAKING[name](labels)


def test_a_label_beyond_the_classes_is_refused_by_whatever_evaluates_or_trains():
    split = Split(INPUTS, OUTSIDE[0])
    config = training.TrainConfig(steps=1, batch_size=2, precision="portable")
    for ask in (
        lambda: connectivity.evaluate(NETWORK, STATE, split),
        lambda: connectivity.curves(NETWORK, STATE, STATE, {"": split}, points=3),
        lambda: training.train(NETWORK, STATE, split, config, seed=0),
    ):
        with pytest.raises(ValueError, match=OUTSIDE[1]):
            ask()


def test_no_examples_have_no_scores():
    none = Split(INPUTS[:0], LABELS[:0])
    for ask in (
        lambda: connectivity.evaluate(NETWORK, STATE, none),
        lambda: connectivity.predict(NETWORK, STATE, none.inputs),
        lambda: connectivity.curves(NETWORK, STATE, STATE, {"": none}, points=3),
        lambda: connectivity.score(LOGITS[:0], none.labels),
        lambda: difficulty.grand(NETWORK, STATE, none.inputs, none.labels),
    ):
        with pytest.raises(ValueError, match="no examples"):
            ask()


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=6), dtype=st.sampled_from([torch.uint8, torch.int32]))
def test_whole_numbers_of_any_precision_are_labels(labels, dtype):
    found = expected.labels(torch.tensor(labels, dtype=dtype), examples=len(labels), classes=5)
    assert (found.dtype, found.tolist()) == (torch.int64, labels)


def test_scores_are_those_of_labels_in_int64():
    assert connectivity.score(LOGITS, LABELS.int()) == connectivity.score(LOGITS, LABELS)


def moved(prefix, names):
    return {f"{prefix}{name}": 0 for name in names}


@given(
    names=st.sets(st.from_regex(r"[a-c](\.[a-c]){0,2}", fullmatch=True), min_size=1),
    prefix=st.from_regex(r"[d-f]{1,3}\.", fullmatch=True),
)
def test_what_stands_before_all_names_is_told_on_either_side(names, prefix):
    own = moved("", names)
    assert f"names in the state begin with {prefix!r}" in expected.names(moved(prefix, names), own, "the spec")
    assert f"names in the spec begin with {prefix!r}" in expected.names(own, moved(prefix, names), "the spec")


def test_nothing_is_supposed_where_names_differ_otherwise():
    told = expected.names(moved("", ["a", "b", "c", "d", "e"]), moved("", ["a", "x"]), "the network")
    assert told == (
        "5 entries in the state and 2 in the network have 1 names in common, only the state has b, c, d and 1 more, "
        "only the network has x"
    )


class Tied(nn.Module):
    """A head that is the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.embedding(tokens).mean(1))


TIED = Tied()


def prefixed():
    return {f"module.{name}": value for name, value in STATE.items()}


# Whatever takes a network and a state of it; it gets another one than that of the network.
TAKING_STATES = {
    "evaluate": lambda weights: unwrap(connectivity.evaluate)(NETWORK, weights, Split(INPUTS, LABELS)),
    "predict": lambda weights: unwrap(connectivity.predict)(NETWORK, weights, INPUTS),
    "predictions": lambda weights: unwrap(predictions.predict)(NETWORK, weights, INPUTS, mode="eval"),
    "grand": lambda weights: unwrap(difficulty.grand)(NETWORK, weights, INPUTS, LABELS),
    "batch_direction": lambda weights: unwrap(perturbation.batch_direction)(NETWORK, weights, INPUTS, LABELS),
    "reset": lambda weights: norms.reset(nn.Sequential(*NETWORK, nn.BatchNorm1d(3)), weights, INPUTS),
    "distance": lambda weights: unwrap(connectivity.curves)(NETWORK, STATE, weights, {"": Split(INPUTS, LABELS)}),
}


@pytest.mark.parametrize("name", TAKING_STATES)
def test_a_prefix_is_told_and_no_network_runs_with_weights_of_its_own(name):
    weights = prefixed()
    if name == "reset":
        weights |= {f"module.3.{key}": value for key, value in nn.BatchNorm1d(3).state_dict().items()}
    with pytest.raises(ValueError, match=r"0 names in common.*names in the state begin with 'module\.'"):
        TAKING_STATES[name](weights)


def test_what_was_matched_is_told_of_prefix_and_of_ties():
    generator = rng.stream(0, "order")
    with pytest.raises(SymmetryError, match=r"begin with 'module\.', which state.under\('module\.', ...\) takes off"):
        matching.weight_matching(SPEC, STATE, prefixed(), generator=generator)
    spec = symmetry.permutation_spec(TIED, torch.zeros(1, 2, dtype=torch.long))
    unsaved = {"embedding.weight": torch.zeros(4, 3)}
    with pytest.raises(SymmetryError, match=r"only the spec has head\.weight; weights that are tied"):
        matching.weight_matching(spec, unsaved, unsaved, generator=generator)
    with pytest.raises(SymmetryError, match=r"only the spec has 2\.bias$"):
        symmetry.check(
            SPEC, {name: value for name, value in STATE.items() if name != "2.bias"} | {"0.bias": STATE["0.bias"]}
        )


def test_a_tied_weight_that_was_not_saved_is_named_with_the_other():
    split = Split(torch.tensor([[0, 1], [3, 2]]), torch.tensor([3, 0]))
    unsaved = {"embedding.weight": torch.randn(4, 3, generator=rng.stream(0, "tied"))}
    with pytest.raises(ValueError, match=r"lacks head\.weight, which is tied to embedding\.weight.*was not saved"):
        connectivity.evaluate(TIED, unsaved, split)
    connectivity.evaluate(TIED, unsaved | {"head.weight": unsaved["embedding.weight"]}, split)


def test_a_dictionary_around_a_state_is_told():
    around = {"epoch": 3, "model": STATE}
    for refuse in (
        lambda: unwrap(symmetry.check)(SPEC, around),
        lambda: unwrap(state.given)(NETWORK, around),
    ):
        with pytest.raises(ValueError, match="a dictionary around a state, which is under 'model'"):
            refuse()


TOKENS = torch.tensor([[0, 1], [3, 2], [2, 2], [1, 3]])
TIED_STATE = dict.fromkeys(
    ["embedding.weight", "head.weight"], torch.randn(4, 3, dtype=torch.float64, generator=rng.stream(0, "tied"))
)
TIED_LABELS = torch.tensor([3, 0, 1, 1])


def tied_logits():
    embedding = TIED_STATE["embedding.weight"]
    return embedding[TOKENS].mean(1) @ embedding.T


def test_indices_of_tokens_reach_the_network_as_they_are():
    split, logits = Split(TOKENS, TIED_LABELS), tied_logits()
    truth = connectivity.score(logits, TIED_LABELS)
    assert torch.allclose(connectivity.predict(TIED, TIED_STATE, TOKENS), logits, rtol=1e-14)
    assert torch.allclose(predictions.predict(TIED, TIED_STATE, TOKENS, mode="eval"), logits, rtol=1e-14)
    assert vars(connectivity.evaluate(TIED, TIED_STATE, split)) == pytest.approx(vars(truth))
    lines = connectivity.pairwise_barriers(TIED, [TIED_STATE, TIED_STATE], split, points=3)
    assert float(lines.abs().max()) < 1e-14


def test_networks_of_tokens_are_trained_and_scored():
    config = training.TrainConfig(steps=1, batch_size=4, lr=0.5, precision="portable")
    untied = {name: value.clone() for name, value in TIED_STATE.items()}
    after = training.train(TIED, untied, Split(TOKENS, TIED_LABELS), config, seed=0).states[-1]
    score = [connectivity.evaluate(TIED, each, Split(TOKENS, TIED_LABELS)).loss for each in (untied, after)]
    assert score[1] < score[0]
    assert len(difficulty.grand(TIED, TIED_STATE, TOKENS, TIED_LABELS)) == 4
    with pytest.raises(ValueError, match="indices of tokens, have no gradients"):
        unwrap(difficulty.input_gradients)(TIED, TIED_STATE, TOKENS, TIED_LABELS)
    direction = perturbation.batch_direction(TIED, TIED_STATE, TOKENS, TIED_LABELS)
    assert all(bool(each.any()) for each in direction.values())


class Turned(nn.Module):
    """A rotation of pairs of numbers, which are complex ones; its parameter comes first."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.view_as_real(torch.view_as_complex(x.unflatten(1, (2, 2))) * self.turn).flatten(1))


TURNED = Turned()


def turned(dtype, *path):
    generator = rng.stream(0, "turned", *path)
    drawn = {"turn": torch.randn(2, generator=generator, dtype=torch.complex64)} | {
        f"head.{name}": torch.randn(shape, generator=generator) for name, shape in (("weight", (3, 4)), ("bias", (3,)))
    }
    return state.cast(drawn, dtype)


def test_lines_between_complex_networks_end_at_the_networks_and_pass_their_mean():
    start, end, split = turned(torch.float64, "a"), turned(torch.float64, "b"), Split(INPUTS, LABELS)
    line = connectivity.curves(TURNED, start, end, {"": split}, points=3)[""]
    for place, each in enumerate((start, state.interpolate(start, end, 0.5), end)):
        assert vars(line.at(place)) == pytest.approx(vars(connectivity.evaluate(TURNED, each, split)), rel=1e-12)
    assert line.loss[0] != line.loss[2]


def test_complex_weights_are_refused_by_what_knows_none():
    weights = turned(torch.float32)
    for refuse in (
        lambda: pruning.full_masks(weights),
        lambda: perturbation.gaussian_direction(weights, generator=rng.stream(0)),
        lambda: matching.weight_matching(turned_spec(), weights, weights, generator=rng.stream(0)),
    ):
        with pytest.raises(ValueError, match="turn holds complex numbers"):
            refuse()


def turned_spec():
    shapes = {name: tuple(value.shape) for name, value in turned(torch.float32).items()}
    return symmetry.PermutationSpec({}, {}, shapes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_points_between_many_coarse_networks_are_rounded_once(dtype):
    """In the corner of equal networks every point is that network, to the bit."""
    one, split = state.cast(STATE, dtype), Split(INPUTS, LABELS)
    weights = torch.full((3, 100), 0.01, dtype=torch.float64)
    found = connectivity.path(NETWORK, [one] * 100, weights, {"": split})[""]
    assert found.at(1) == connectivity.evaluate(NETWORK, one, split)
