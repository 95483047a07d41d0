"""What attention heads conserve, decoders as they are stored, and the evidence that is made of them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lmc_lib import rng, training
from lmc_lib.charges import heads
from lmc_lib.claims import estimate_of_mean
from lmc_lib.experiments.dynamics.decoders import LossSpec, chosen, gains
from lmc_lib.experiments.dynamics.heads import HeadsSpec, evidence
from lmc_lib.experiments.found import Record
from lmc_lib.language import Biases, Decoder
from lmc_lib.state import under
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

SEEDS = st.integers(0, 200)
DECODER = Decoder(4, 8, 6, heads=2, layers=2)
SGD = TrainConfig(8, batch_size=4, lr=0.1, momentum=0.0, schedule="constant", precision="portable", grid_bits=52)
OPTIMISERS = {
    "AdamW": TrainConfig(6, 4, 0.02, "adamw", warmup=2, weight_decay=0.01, precision="portable"),
    "momentum": TrainConfig(6, 4, 0.1, momentum=0.9, precision="portable"),
    "float32": TrainConfig(6, 4, 0.1, momentum=0.9),
}
DRAWN = Biases(0.4, 0.3)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def network(seed, *, biases=False):
    """Weights of a stack of one, and a loss of it on a batch."""
    state = DECODER.initialise(generator=rng.stream(seed, "weights"))
    if biases:
        state |= DRAWN.draw(DECODER, generator=rng.stream(seed, "biases"))
    tokens = torch.randint(4, (1, 5, 9), generator=rng.stream(seed, "tokens"))
    return {name: each[None] for name, each in state.items()}, tokens


def loss(state, tokens):
    return F.cross_entropy(DECODER.logits(state, tokens[..., :-1]).flatten(0, 2), tokens[..., 1:].flatten())


def gradient(state, tokens, *, fixed=()):
    leaves = {name: each.clone().requires_grad_(name not in fixed) for name, each in state.items()}
    trained = [name for name in leaves if name not in fixed]
    slopes = torch.autograd.grad(loss(leaves, tokens), [leaves[name] for name in trained])
    return dict(zip(trained, slopes, strict=True))


def stretched(state, pair, matrix):
    """The weights with a matrix at work in every head."""
    first, second = heads.PAIRS[pair]
    moved = state | {first: matrix @ state[first], second: torch.linalg.inv(matrix).mT @ state[second]}
    if f"{first}_bias" in state:
        moved[f"{first}_bias"] = (matrix @ state[f"{first}_bias"][..., None])[..., 0]
    return moved


def a_matrix(seed):
    """Neither symmetric nor a rotation, and well conditioned."""
    drawn = torch.randn(3, 3, generator=rng.stream(seed, "matrix"), dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + 0.2 * drawn


@pytest.mark.parametrize("pair", heads.PAIRS)
class TestSymmetry:
    @given(seed=SEEDS, biases=st.booleans())
    @settings(max_examples=15, deadline=None)
    def test_leaves_the_loss_as_it_is_if_biases_move_too(self, pair, seed, biases):
        state, tokens = network(seed, biases=biases)
        moved = stretched(state, pair, a_matrix(seed))
        assert float(loss(moved, tokens)) == pytest.approx(float(loss(state, tokens)), abs=1e-12)

    def test_is_broken_by_biases_that_stay(self, pair):
        state, tokens = network(3, biases=True)
        moved = stretched(state, pair, a_matrix(3)) | {name: state[name] for name in ("query_bias", "value_bias")}
        assert abs(float(loss(moved, tokens) - loss(state, tokens))) > 1e-4

    @given(seed=SEEDS, biases=st.booleans())
    @settings(max_examples=15, deadline=None)
    def test_gradients_obey_it(self, pair, seed, biases):
        state, tokens = network(seed, biases=biases)
        # Some hundred operations of float64, by numbers of the order of 1.
        assert float(heads.overlap(state, gradient(state, tokens), pair).max()) < 1e-12

    def test_gradients_do_not_with_biases_that_are_not_learnt(self, pair):
        state, tokens = network(3, biases=True)
        slope = gradient(state, tokens, fixed=("query_bias", "value_bias"))
        found = heads.overlap(heads.weights_alone(state), slope, pair)
        assert found.shape == (1, 2, 2)
        assert 1e-2 < float(found.min()) <= float(found.max()) <= 1.0

    @given(seed=SEEDS, biases=st.booleans())
    @settings(max_examples=15, deadline=None)
    def test_an_update_adds_the_drive(self, pair, seed, biases):
        state, tokens = network(seed, biases=biases)
        slope, rate = gradient(state, tokens), 0.3
        after = {name: each - rate * slope[name] for name, each in state.items()}
        change = heads.value(after, pair) - heads.value(state, pair)
        assert torch.allclose(change, rate**2 * heads.value(slope, pair), atol=1e-13)
        assert float(change.abs().max()) > 1e-6

    def test_a_rotation_turns_the_charge(self, pair):
        state, _ = network(5, biases=True)
        turn = torch.linalg.qr(a_matrix(5)).Q
        turned = heads.value(stretched(state, pair, turn), pair)
        assert torch.allclose(turned, turn @ heads.value(state, pair) @ turn.T, atol=1e-12)


def test_charges_by_hand():
    state = {
        "query": torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]]),
        "key": torch.tensor([[1.0, 0.0, 1.0], [2.0, 0.0, 0.0]]),
        "value": torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
        "output": torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]),
    }
    assert heads.value(state, "query and key").tolist() == [[5 - 2, 2 - 2], [2 - 2, 10 - 4]]
    assert heads.value(state, "value and output").tolist() == [[2 - 4, 0], [0, 1 - 2]]
    state["query_bias"] = torch.tensor([2.0, -1.0])
    assert heads.value(state, "query and key").tolist() == [[3 + 4, 0 - 2], [0 - 2, 6 + 1]]
    assert heads.value(heads.weights_alone(state), "query and key").tolist() == [[3, 0], [0, 6]]
    assert heads.value(state, "value and output").tolist() == [[-2, 0], [0, -1]]


class TestStacks:
    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_are_trained_like_each_network_alone(self, name):
        whole = LossSpec(DECODER, OPTIMISERS[name], DRAWN, 3, 7)
        *_, together = whole.path(whole.start())
        for place in range(3):
            alone = dataclasses.replace(whole, seeds=1, first_seed=7 + place)
            *_, last = alone.path(alone.start())
            for weight, each in last.state.items():
                # Matrix products of other shapes differ in the last digits, which six updates hardly magnify.
                assert torch.allclose(together.state[weight][place], each[0], atol=2e-5 if name == "float32" else 1e-9)

    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_biases_of_scale_0_reproduce_the_plain_training_to_the_bit(self, name):
        """Zeros are added at every step, and drawn for it."""
        with_zeros, plain, with_biases = (
            LossSpec(DECODER, OPTIMISERS[name], biases, 2, 7) for biases in (Biases(0.0, 0.0), None, DRAWN)
        )
        ends = [[*each.path(each.start())][-1].state for each in (with_zeros, plain, with_biases)]
        assert with_zeros.drawn(3, torch.float64).keys() == {"query_bias", "value_bias"}
        assert all(torch.equal(ends[0][weight], ends[1][weight]) for weight in ends[1])
        assert not torch.allclose(ends[0]["query"], ends[2]["query"], atol=1e-4)

    def test_a_network_that_diverges_leaves_the_others_alone(self):
        def losses(state, step):
            return (state["w"] ** 2).sum(-1) * torch.tensor([1.0, 1e200], dtype=torch.float64)

        start = {"w": torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64)}
        config = TrainConfig(4, lr=0.25, momentum=0.0, schedule="constant", precision="portable")
        *_, last = training.train_stack(losses, start, config)
        assert last.state["w"][0].tolist() == [1 / 16, 2 / 16]  # each update halves
        assert not torch.isfinite(last.state["w"][1]).any()
        assert start["w"].tolist() == [[1.0, 2.0], [1.0, 2.0]]

    def test_each_update_has_the_rate_of_its_step(self):
        """A quadratic loss: an update multiplies a weight by 1 less twice the rate."""
        config = TrainConfig(6, lr=0.2, momentum=0.0, warmup=2, schedule="linear", precision="portable", grid_bits=50)
        start = {"w": torch.tensor([[1.0], [3.0]], dtype=torch.float64)}
        *_, last = training.train_stack(lambda state, step: state["w"].square().sum(-1), start, config)
        factor = np.prod([1.0 - 2.0 * rate for rate in (0.1, 0.2, 0.2, 0.15, 0.1, 0.05)])
        assert last.state["w"].flatten().tolist() == pytest.approx([factor, 3.0 * factor], rel=1e-12)

    def test_losses_are_told_the_step(self):
        seen = []

        def losses(state, step):
            seen.append(step)
            return state["w"].sum(-1)

        [*training.train_stack(losses, {"w": torch.ones(2, 1)}, TrainConfig(3))]
        assert seen == [0, 1, 2]

    def test_checkpoints_come_where_they_are_asked_for(self):
        spec = HeadsSpec(DECODER, SGD, None, 2)
        found = [*spec.path(spec.start(), save_at=(0, 3))]
        assert [each.step for each in found] == [0, 3, 8]
        assert torch.equal(found[0].state["key"], spec.start()["key"])

    def test_biases_are_drawn_anew_for_each_batch(self):
        spec = LossSpec(DECODER, SGD, DRAWN, 2, 7)
        first, again, second = (spec.drawn(step, torch.float64)["query_bias"] for step in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.allclose(first, second, atol=1e-3)
        assert not torch.allclose(first[0], first[1], atol=1e-3)
        scaled = dataclasses.replace(spec, biases=Biases(0.0, 0.6)).drawn(0, torch.float64)["query_bias"]
        assert torch.allclose(scaled, 2.0 * (first - 0.4), atol=1e-12)


class TestLosses:
    def test_are_those_of_the_last_weights(self, store):
        spec = LossSpec(DECODER, OPTIMISERS["AdamW"], DRAWN, 3, 11, examples=7)
        values = obtain(store, spec).values
        *_, last = spec.path(spec.start())
        mean = {name: torch.full((3, 2, 2, 3), 0.4, dtype=torch.float64) for name in ("query_bias", "value_bias")}
        for place, seed in enumerate((11, 12, 13)):
            tokens, chain = spec.sequences(seed, "validation", 7), spec.language(seed)
            said = DECODER.logits(last.state | mean, tokens[None, :, :-1].repeat(3, 1, 1))[place].softmax(-1)
            apart, entropy = 0.0, 0.0
            for sequence, of_sequence in zip(tokens.tolist(), said, strict=True):
                for where in range(1, 8):
                    true = chain.probabilities[sequence[where - 1], sequence[where]]
                    apart += float((true * (true / of_sequence[where]).log()).sum())
                    entropy -= float((true * true.log()).sum())
            assert values["excess"][place] == pytest.approx(apart / 49, rel=1e-6)
            assert values["entropy"][place] == pytest.approx(entropy / 49, rel=1e-6)

    def test_are_of_other_sequences_than_the_training(self):
        spec = LossSpec(DECODER, OPTIMISERS["AdamW"], None, 1)
        assert not torch.equal(spec.sequences(0, "training", 5), spec.sequences(0, "validation", 5))

    def test_fall_with_training(self, store):
        short, long = (
            obtain(store, LossSpec(DECODER, TrainConfig(steps, 16, 0.02, "adamw"), None, 3)).values["excess"]
            for steps in (0, 150)
        )
        assert (np.array(long) < 0.7 * np.array(short)).all()

    def test_of_a_training_that_diverged_there_is_none(self, store):
        spec = LossSpec(DECODER, TrainConfig(5, 4, 1e306, schedule="constant", precision="portable"), None, 2)
        assert obtain(store, spec).values["excess"] == [None, None]

    def test_say_how_they_were_trained(self):
        spec = LossSpec(DECODER, OPTIMISERS["momentum"], DRAWN, 2)
        assert spec.factors == "SGD, momentum 0.9, rate 0.1, biases 0.4 ± 0.3"
        assert dataclasses.replace(spec, train=OPTIMISERS["AdamW"], biases=None).factors == "AdamW, rate 0.02"
        assert spec.label == DECODER.label


class TestCharges:
    @pytest.mark.parametrize("learnt", [False, True])
    def test_are_those_of_the_weights_after_each_update(self, store, learnt):
        spec = HeadsSpec(DECODER, SGD, DRAWN, 2, 5, learnt)
        values = obtain(store, spec).values
        start = spec.start() | (spec.drawn(0, torch.float64) if learnt else {})
        trained = dataclasses.replace(spec, biases=None if learnt else DRAWN)
        path = [each.state for each in trained.path(start, save_at=range(9))]
        for pair, (first, second) in heads.PAIRS.items():
            charges = torch.stack([each[first] @ each[first].mT - each[second] @ each[second].mT for each in path])
            size = charges.flatten(2).norm(dim=2)[0]
            away = (charges - charges[0]).flatten(2).norm(dim=2) / size
            assert values[pair]["drift"] == pytest.approx(away[4:].square().mean(0).sqrt().tolist(), rel=1e-7)
            assert np.allclose(values[pair]["growth"], away.T, rtol=1e-7)
            if learnt:
                biases = torch.stack([each[f"{first}_bias"] for each in path])
                charges = charges + biases[..., None] * biases[..., None, :]
                size = charges.flatten(2).norm(dim=2)[0]
            away = (charges - charges[0]).flatten(2).norm(dim=2) / size
            assert values[pair]["with biases"] == pytest.approx(away[4:].square().mean(0).sqrt().tolist(), rel=1e-7)
            # Nothing of what is drawn is learnt, so that the law fails there and holds where all is learnt.
            assert (max(values[pair]["law"]) < 1e-12) == learnt
            assert (max(values[pair]["overlap"]) < 1e-12) == learnt
        assert values["times"] == pytest.approx([0.1 * step for step in range(9)])

    def test_follow_the_law_without_biases(self, store):
        values = obtain(store, HeadsSpec(DECODER, SGD, None, 3)).values
        for pair in heads.PAIRS:
            assert max(values[pair]["law"]) < 1e-12 < min(values[pair]["drift"])
            assert values[pair]["with biases"] == values[pair]["drift"]

    def test_a_wrong_rate_breaks_the_law(self):
        """The drive of these trainings is seen in the twelfth digit."""
        spec = HeadsSpec(DECODER, SGD, None, 1)
        path = [*spec.path(spec.start(), save_at=range(9))]
        drive = sum(heads.value(under("momentum_buffer/", each.memory), "query and key") for each in path[1:])
        change = heads.value(path[-1].state, "query and key") - heads.value(path[0].state, "query and key")
        assert torch.allclose(change, 0.01 * drive, atol=1e-14)
        assert not torch.allclose(change, 0.011 * drive, atol=1e-9)

    @pytest.mark.parametrize(
        "other",
        [
            {"momentum": 0.9},
            {"weight_decay": 0.1},
            {"optimiser": "adamw"},
            {"schedule": "cosine"},
            {"precision": "float32"},
        ],
    )
    def test_are_those_of_plain_sgd_alone(self, other):
        with pytest.raises(ValueError, match="plain SGD in float64 at a constant rate"):
            HeadsSpec(DECODER, dataclasses.replace(SGD, **other), None, 2)

    def test_have_addresses_of_their_own(self):
        specs = [HeadsSpec(DECODER, SGD, DRAWN, 2, 0, learnt) for learnt in (False, True)]
        specs += [HeadsSpec(DECODER, SGD, None, 2), LossSpec(DECODER, SGD, None, 2)]
        assert len({fingerprint(each) for each in specs}) == 4


def planted(sizes, power, seeds=5):
    """What would be stored if every size grew as a power of the rate, other ones for each pair and seed."""
    spread = np.linspace(0.8, 1.3, seeds)
    return {
        rate: Record(
            {
                pair: {what: (spread * size * factor * rate**power).tolist() for what, size in sizes.items()}
                for pair, factor in zip(heads.PAIRS, (1.0, 3.0), strict=True)
            }
        )
        for rate in (0.2, 0.1, 0.05)
    }


class TestEvidence:
    def test_of_heads(self):
        plain = planted({"drift": 1.0, "law": 1e-9, "with biases": 1.0}, 1.2)
        drawn = planted({"drift": 4.0, "law": 1.0, "with biases": 4.0}, 0.2)
        learnt = planted({"drift": 7.0, "law": 1.0}, 0.1)
        for rate, each in planted({"with biases": 7.0}, 0.9).items():
            for pair in heads.PAIRS:
                learnt[rate].values[pair]["with biases"] = each.values[pair]["with biases"]
        found = evidence(plain, drawn, learnt)
        for pair, factor in zip(heads.PAIRS, (1.0, 3.0), strict=True):
            assert found[f"order {pair}"].value == pytest.approx(1.2)
            assert found[f"order {pair} beyond"].value == pytest.approx(1.2)
            assert found[f"drawn {pair}"].value == pytest.approx(0.2)
            assert found[f"decades {pair}"].value == pytest.approx(np.log10(4.0 * 0.05**-1.0))
            assert found[f"learnt {pair}"].value == pytest.approx(0.9)
            assert found[f"alone {pair}"].value == pytest.approx(0.1)
            sizes = np.linspace(0.8, 1.3, 5) * factor * 1e-9 * 0.2**1.2
            assert found[f"digits {pair}"].value == pytest.approx(-np.log10(sizes).mean())
        assert found["order query and key"].count("seed").startswith("5 ")

    def test_counts_twelve_digits_at_most(self):
        plain = planted({"drift": 1.0, "law": 1e-20, "with biases": 1.0}, 1.0)
        assert evidence(plain, plain, plain)["digits query and key"].value == 12.0


# By optimiser, rate and strength six seeds, of which the last two choose.
EXCESS = {
    ("AdamW", 0.01, 0.0): [0.10, 0.11, 0.13, 0.12, 0.30, 0.32],
    ("AdamW", 0.01, 0.5): [0.10, 0.10, 0.10, 0.10, 0.40, 0.42],
    ("AdamW", 0.02, 0.0): [0.21, 0.22, 0.25, 0.24, 0.20, 0.22],
    ("AdamW", 0.02, 0.5): [0.29, 0.28, 0.31, 0.33, 0.10, 0.12],
    ("momentum", 0.1, 0.0): [0.41, 0.45, 0.42, 0.47, 0.50, 0.52],
    ("momentum", 0.1, 0.5): [0.31, 0.37, 0.33, 0.41, 0.50, 0.53],
    ("momentum", 0.4, 0.0): [0.01, 0.02, 0.01, 0.02, 0.20, np.nan],
    ("momentum", 0.4, 0.5): [0.01, 0.02, 0.01, 0.02, 0.20, 0.10],
}


class TestGains:
    def excess(self):
        return {key: np.array(each) for key, each in EXCESS.items()}

    def test_rates_are_chosen_on_other_seeds_and_not_where_a_training_diverged(self):
        assert chosen(self.excess(), "AdamW", 2) == (0.02, 0.5)
        assert chosen(self.excess(), "momentum", 2) == (0.1, 0.5)

    def test_the_strength_is_chosen_at_the_rate(self):
        more = self.excess() | {
            ("AdamW", 0.01, 0.1): np.zeros(6),
            ("AdamW", 0.02, 0.1): np.array([0.0, 0.0, 0.0, 0.0, 0.14, 0.15]),
        }
        # The mean of the choosing seeds is 0.24 at the first rate and 0.155 at the second.
        assert chosen(more, "AdamW", 2) == (0.02, 0.5)
        more["AdamW", 0.02, 0.1][-2:] = 0.09
        assert chosen(more, "AdamW", 2) == (0.02, 0.1)

    def test_are_differences_within_the_other_seeds(self):
        found = gains(self.excess(), 2)
        adamw = np.array([0.21, 0.22, 0.25, 0.24]), np.array([0.29, 0.28, 0.31, 0.33])
        momentum = np.array([0.41, 0.45, 0.42, 0.47]), np.array([0.31, 0.37, 0.33, 0.41])
        wanted = {
            "gain AdamW": adamw[0] - adamw[1],
            "gain momentum": momentum[0] - momentum[1],
            "gap": momentum[0] - adamw[0],
            "narrowing": (momentum[0] - adamw[0]) - (momentum[1] - adamw[1]),
        }
        assert found.keys() == wanted.keys()
        for name, numbers in wanted.items():
            estimate = estimate_of_mean(numbers)
            assert (found[name].value, found[name].low) == pytest.approx((estimate.value, estimate.low))
        assert found["gain AdamW"].value < 0 < found["gain momentum"].value
