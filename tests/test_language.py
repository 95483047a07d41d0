"""The synthetic language against its own probabilities, and stacks of decoders against single networks of torch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lmc_lib import rng
from lmc_lib.language import Biases, Chain, Decoder

SEEDS = st.integers(0, 200)
DECODER = Decoder(5, 7, 6, heads=2, layers=2)


def drawn(seeds, *, biases=None, decoder=DECODER):
    each = [decoder.initialise(generator=rng.stream(seed, "weights")) for seed in seeds]
    if biases is not None:
        each = [
            state | biases.draw(decoder, generator=rng.stream(seed, "biases"))
            for seed, state in zip(seeds, each, strict=True)
        ]
    return {name: torch.stack([state[name] for state in each]) for name in each[0]}


def tokens(count, batch=3, decoder=DECODER):
    return torch.randint(decoder.symbols, (count, batch, decoder.length), generator=rng.stream(0, "tokens"))


class TestChain:
    @given(SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_probabilities_are_those_of_whole_weights(self, seed):
        found = Chain.draw(4, generator=rng.stream(seed, "language")).probabilities
        assert torch.allclose(found.sum(-1), torch.ones(4, 4, dtype=torch.float64), atol=1e-15)
        assert (found > 0).all()
        # Cubes of 1 to 10: the largest by the smallest of a row is at most a thousand.
        assert float((found.amax(-1) / found.amin(-1)).max()) <= 1000.0 + 1e-9

    def test_frequencies_follow_the_probabilities(self):
        chain = Chain.draw(3, generator=rng.stream(1, "language"))
        found = chain.sample(20000, 6, generator=rng.stream(1, "sequences"))
        counts = torch.zeros(3, 3, 3)
        for place in range(4):
            for triple in found[:, place : place + 3]:
                counts[tuple(triple)] += 1
        shares = counts / counts.sum(-1, keepdim=True)
        # About 2,000 draws of the rarest pair: four standard deviations of a share are below 0.05.
        assert torch.allclose(shares.double(), chain.probabilities, atol=0.05)
        assert torch.allclose(torch.bincount(found[:, 0]) / 20000, torch.tensor(1 / 3), atol=0.02)

    def test_the_earlier_symbol_comes_first(self):
        """A language without chance: what follows is twice the earlier symbol and the later one, modulo 5."""
        probabilities = torch.zeros(5, 5, 5, dtype=torch.float64)
        for earlier in range(5):
            for later in range(5):
                probabilities[earlier, later, (2 * earlier + later) % 5] = 1.0
        chain = Chain(probabilities)
        found = chain.sample(50, 9, generator=rng.stream(2, "sequences"))
        assert (found[:, 2:] == (2 * found[:, :-2] + found[:, 1:-1]) % 5).all()
        told = chain.next(found)
        assert told.shape == (50, 8, 5)
        assert (told[:, :-1].argmax(-1) == found[:, 2:]).all()

    def test_the_same_stream_gives_the_same_sequences(self):
        chain = Chain.draw(4, generator=rng.stream(3, "language"))
        one, two = (chain.sample(5, 8, generator=rng.stream(3, "sequences")) for _ in range(2))
        assert torch.equal(one, two)
        assert not torch.equal(one, chain.sample(5, 8, generator=rng.stream(4, "sequences")))


def single(state, inputs, decoder=DECODER):
    """One decoder, a head at a time, by torch's attention."""
    x = state["embedding"][inputs] + state["positions"]
    normalised = torch.nn.LayerNorm(decoder.width, elementwise_affine=False)
    for layer in range(decoder.layers):
        seen = normalised(x)
        for head in range(decoder.heads):
            query, key, value = (seen @ state[name][layer, head].T for name in ("query", "key", "value"))
            if "query_bias" in state:
                query, value = query + state["query_bias"][layer, head], value + state["value_bias"][layer, head]
            x = x + F.scaled_dot_product_attention(query, key, value, is_causal=True) @ state["output"][layer, head]
        x = x + F.gelu(normalised(x) @ state["hidden"][layer].T) @ state["back"][layer].T
    return normalised(x) @ state["logits"].T


class TestDecoder:
    @pytest.mark.parametrize("biases", [None, Biases(0.3, 0.7)])
    def test_a_stack_says_what_its_networks_say(self, biases):
        states, inputs = drawn((4, 9, 2), biases=biases), tokens(3)
        found = DECODER.logits(states, inputs)
        for place in range(3):
            own = {name: each[place] for name, each in states.items()}
            assert torch.allclose(found[place], single(own, inputs[place]), atol=1e-12)

    def test_sees_no_later_token(self):
        states, inputs = drawn((1,)), tokens(1)
        other = inputs.clone()
        other[..., 4:] = (other[..., 4:] + 1) % DECODER.symbols
        here, there = DECODER.logits(states, inputs), DECODER.logits(states, other)
        assert torch.equal(here[:, :, :4], there[:, :, :4])
        assert (here[:, :, 4:] != there[:, :, 4:]).any()

    def test_weights_have_a_variance_of_one_by_the_number_of_inputs(self):
        wide = Decoder(5, 7, 64, heads=4)
        found = wide.initialise(generator=rng.stream(0, "weights"))
        assert found["query"].shape == found["output"].shape == (2, 4, 16, 64)
        for name, inputs in {"query": 64, "key": 64, "value": 64, "output": 64, "hidden": 64, "back": 256}.items():
            # At least 4,096 draws: a relative error of 0.1 is more than six standard deviations of a variance.
            assert float(found[name].var()) == pytest.approx(1.0 / inputs, rel=0.1)

    def test_heads_share_the_width(self):
        with pytest.raises(ValueError, match="7 features are not 2 times"):
            Decoder(5, 7, 7, heads=2)

    def test_says_what_it_is(self):
        assert DECODER.label == "decoder, 2 layers, width 6"
        assert Decoder(5, 7, 6, layers=1).label == "decoder, 1 layer, width 6"


class TestBiases:
    def test_have_their_mean_and_deviation(self):
        wide = Decoder(5, 7, 400, heads=2, layers=3)
        found = Biases(0.7, 0.2).draw(wide, generator=rng.stream(0, "biases"))
        assert set(found) == {"query_bias", "value_bias"}
        for each in found.values():
            assert each.shape == (3, 2, 200)
            # Of 1,200 draws: six standard deviations are 0.035 for the mean and 0.025 for the deviation.
            assert float(each.mean()) == pytest.approx(0.7, abs=0.035)
            assert float(each.std()) == pytest.approx(0.2, abs=0.025)
        assert not torch.equal(*found.values())

    def test_without_deviation_they_are_their_mean(self):
        found = Biases(0.7).draw(DECODER, generator=rng.stream(0, "biases"))
        assert all((each == 0.7).all() for each in found.values())

    def test_count_in_the_query_and_in_the_value(self):
        inputs = tokens(1)
        plain = drawn((5,))
        for name in ("query_bias", "value_bias"):
            zero = {each: torch.zeros(1, 2, 2, 3, dtype=torch.float64) for each in ("query_bias", "value_bias")}
            assert torch.equal(DECODER.logits(plain | zero, inputs), DECODER.logits(plain, inputs))
            zero[name][0, 1, 0, 2] = 0.5
            assert not torch.allclose(DECODER.logits(plain | zero, inputs), DECODER.logits(plain, inputs), atol=1e-6)

    def test_entropy_is_below_that_of_chance(self):
        chain = Chain.draw(6, generator=rng.stream(3, "language"))
        entropy = torch.special.entr(chain.probabilities).sum(-1)
        assert 0.0 < float(entropy.mean()) < math.log(6)
