"""What of biases breaks a symmetry: a charge at right angles to a bias, and the evidence that is made of it."""

import dataclasses

import numpy as np
import pytest
import torch

from lmc_lib import rng
from lmc_lib.charges import heads
from lmc_lib.claims import estimate_of_mean
from lmc_lib.experiments.dynamics.breaking import across, alone, gains, rate
from lmc_lib.experiments.dynamics.decoders import LossSpec
from lmc_lib.experiments.dynamics.heads import HeadsSpec
from lmc_lib.experiments.found import Record
from lmc_lib.language import Biases, Decoder
from lmc_lib.store import Store, fingerprint
from lmc_lib.sweeps import obtain
from lmc_lib.training import TrainConfig

DECODER = Decoder(4, 8, 6, heads=2, layers=2)
SGD = TrainConfig(8, batch_size=4, lr=0.1, momentum=0.0, schedule="constant", precision="portable", grid_bits=52)
STAYS = Biases(0.4, 0.3, redrawn=False)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


class TestAcross:
    def test_is_the_part_without_a_row_and_a_column_if_the_bias_lies_along_an_axis(self):
        charge = torch.randn(2, 3, 3, generator=rng.stream(0, "charge"), dtype=torch.float64)
        bias = torch.tensor([[0.0, -2.0, 0.0], [0.0, 0.0, 0.5]], dtype=torch.float64)
        found = heads.across(charge, bias)
        for place, gone in enumerate((1, 2)):
            wanted = charge[place].clone()
            wanted[gone], wanted[:, gone] = 0.0, 0.0
            assert torch.allclose(found[place], wanted)

    def test_turns_with_the_head(self):
        charge = torch.randn(4, 4, generator=rng.stream(1, "charge"), dtype=torch.float64)
        bias = torch.randn(4, generator=rng.stream(1, "bias"), dtype=torch.float64)
        turn = torch.linalg.qr(torch.randn(4, 4, generator=rng.stream(1, "turn"), dtype=torch.float64)).Q
        turned = heads.across(turn @ charge @ turn.T, turn @ bias)
        assert torch.allclose(turned, turn @ heads.across(charge, bias) @ turn.T)
        assert torch.allclose(heads.across(charge, bias) @ bias, torch.zeros(4, dtype=torch.float64), atol=1e-14)
        assert torch.equal(heads.across(charge, torch.zeros_like(bias)), charge)

    @pytest.mark.parametrize("pair", heads.PAIRS)
    def test_biases_that_stay_leave_it_the_discrete_law(self, pair):
        """The part at right angles follows the law of the updates to rounding, and the whole does not."""
        spec = HeadsSpec(DECODER, SGD, STAYS, 2, 5, across=True)
        path = [*spec.path(spec.start(), save_at=range(9))]
        bias = spec.drawn(0, torch.float64)[f"{heads.PAIRS[pair][0]}_bias"]
        slopes = [{name.removeprefix("momentum_buffer/"): x for name, x in each.memory.items()} for each in path[1:]]
        drive = 0.01 * sum(heads.value(each, pair) for each in slopes)
        away = heads.value(path[-1].state, pair) - heads.value(path[0].state, pair) - drive
        assert float(heads.across(away, bias).abs().max()) < 1e-13
        assert float(away.abs().max()) > 1e-4


class TestBiasesThatStay:
    def test_are_those_of_the_first_batch(self):
        stays, drawn = (LossSpec(DECODER, SGD, each, 2, 7) for each in (STAYS, Biases(0.4, 0.3)))
        first = drawn.drawn(0, torch.float64)["query_bias"]
        assert torch.equal(stays.drawn(3, torch.float64)["query_bias"], first)
        assert not torch.allclose(drawn.drawn(3, torch.float64)["query_bias"], first, atol=1e-3)
        assert torch.equal(stays.usual(torch.float64)["query_bias"], first)
        assert (drawn.usual(torch.float64)["query_bias"] == 0.4).all()
        assert LossSpec(DECODER, SGD, None, 2).usual(torch.float64) == {}
        assert stays.factors.endswith("biases 0.4 ± 0.3, fixed")
        assert fingerprint(stays) != fingerprint(drawn)

    def test_without_deviation_are_those_that_are_drawn_anew(self, store):
        stays, drawn = (LossSpec(DECODER, SGD, Biases(0.4, 0.0, each), 2, 7) for each in (False, True))
        assert obtain(store, stays).values == obtain(store, drawn).values

    def test_the_drift_across_is_that_of_the_part(self, store):
        for biases in (STAYS, Biases(0.4, 0.3), Biases(0.0, 0.5)):
            spec = HeadsSpec(DECODER, SGD, biases, 2, 5, across=True)
            values = obtain(store, spec).values
            plain = obtain(store, dataclasses.replace(spec, across=False)).values
            path = [each.state for each in spec.path(spec.start(), save_at=range(9))]
            for pair, (first, _) in heads.PAIRS.items():
                bias = (
                    spec.drawn(0, torch.float64)[f"{first}_bias"]
                    if biases is STAYS
                    else torch.ones(2, 2, 2, 3).double()
                )
                along = bias / bias.norm(dim=-1, keepdim=True)
                gone = torch.eye(3).double() - along[..., :, None] * along[..., None, :] * (biases.mean != 0.0)
                parts = torch.stack([gone @ heads.value(each, pair) @ gone for each in path]).flatten(2)
                away = (parts - parts[0]).norm(dim=2) / parts[0].norm(dim=1)
                assert values[pair]["across"] == pytest.approx(away[4:].square().mean(0).sqrt().tolist(), rel=1e-7)
                assert "across" not in plain[pair]
                assert values[pair]["drift"] == plain[pair]["drift"]

    @pytest.mark.parametrize("other", [{"biases": None}, {"learnt": True}])
    def test_without_any_that_are_not_learnt_nothing_is_at_right_angles(self, other):
        with pytest.raises(ValueError, match="there are none"):
            dataclasses.replace(HeadsSpec(DECODER, SGD, STAYS, 2, across=True), **other)


# By how much the power of each seed differs from that of its pair.
SEEDS = np.array([1.1, 0.9, 1.25, 0.85, 1.0])


def planted(**powers):
    """What would be stored if each size grew as its power of the rate, another one for each pair and each seed."""
    return {
        rate: Record(
            {
                pair: {what: (3.0 * rate ** (each[place] * SEEDS)).tolist() for what, each in powers.items()}
                for place, pair in enumerate(heads.PAIRS)
            }
        )
        for rate in (0.2, 0.1, 0.05)
    }


def same(found, numbers):
    """Whether an estimate is that of the mean of these, by seed."""
    wanted = estimate_of_mean(np.array(numbers))
    return (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high), abs=1e-5)


# By version, optimiser and rate six seeds, of which the last two choose.
EXCESS = {
    ("none", "ECD", 1.0): [0.50, 0.52, 0.55, 0.51, 0.30, 0.31],
    ("none", "ECD", 2.0): [0.10, 0.14, 0.12, 0.11, 0.40, 0.42],
    ("none", "ECD", 4.0): [0.10, 0.10, 0.10, 0.10, np.nan, 0.01],
    ("none", "momentum", 0.1): [0.21, 0.25, 0.28, 0.24, 0.20, 0.22],
    ("drawn", "ECD", 1.0): [0.41, 0.42, 0.49, 0.45, 0.90, 0.90],
    ("drawn", "ECD", 2.0): [0.01, 0.01, 0.01, 0.02, 0.01, 0.01],
    ("fixed", "ECD", 1.0): [0.60, 0.61, 0.69, 0.55, 0.01, 0.01],
    ("drawn", "momentum", 0.1): [0.31, 0.32, 0.39, 0.30, 0.20, 0.20],
    ("drawn", "momentum", 0.2): [0.33, 0.31, 0.35, 0.30, 0.21, 0.20],
}


class TestEvidence:
    def test_of_what_stays_and_of_noise(self):
        found = alone(
            planted(drift=(1.1, 0.9)), planted(drift=(0.3, 0.35)), planted(drift=(0.05, 0.08), across=(0.9, 0.8))
        )
        powers = {"query and key": (1.1, 0.3, 0.05), "value and output": (0.9, 0.35, 0.08)}
        for pair, (none, centred, fixed) in powers.items():
            assert same(found[f"centred {pair}"], centred * SEEDS)
            assert same(found[f"fixed {pair}"], fixed * SEEDS)
            assert same(found[f"noise {pair}"], (centred - none) * SEEDS * np.log10(0.05))
        assert found["noise query and key"].count("seed").startswith("5 ")

    def test_of_what_is_at_right_angles(self):
        found = across(planted(drift=(0.1, 0.15), across=(0.2, 0.3)), planted(drift=(0.05, 0.08), across=(0.9, 1.05)))
        for pair, (drawn, fixed) in {"query and key": (0.2, 0.9), "value and output": (0.3, 1.05)}.items():
            assert same(found[f"across {pair}"], fixed * SEEDS)
            assert same(found[f"redrawn {pair}"], (drawn - fixed) * SEEDS * np.log10(0.05))

    @pytest.mark.parametrize(
        ("own", "wanted"),
        [
            (False, {"ECD, drawn": [0.09, 0.10, 0.06, 0.06], "ECD, fixed": [-0.10, -0.09, -0.14, -0.04]}),
            (True, {"ECD, drawn": [0.49, 0.51, 0.54, 0.49], "ECD, fixed": [-0.10, -0.09, -0.14, -0.04]}),
        ],
    )
    def test_gains_are_at_the_rate_that_is_best_on_other_seeds(self, own, wanted):
        """Without biases, or for each version its own."""
        excess = {key: np.array(each) for key, each in EXCESS.items()}
        assert [rate(excess, "ECD", 2, version) for version in ("none", "drawn", "fixed")] == [1.0, 2.0, 1.0]
        assert rate(excess, "ECD", 2) == 1.0
        assert rate(excess, "momentum", 2) == 0.1
        found = gains(excess, 2, own=own)
        wanted = wanted | {"momentum, drawn": [-0.10, -0.07, -0.11, -0.06]}
        assert found.keys() == {f"gain {name}" for name in wanted}
        for name, numbers in wanted.items():
            assert same(found[f"gain {name}"], numbers)
