"""Chains of blocks: orders against a plain loop, gradients of paths against Jacobians of all paths and closed forms."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmc_lib import models, rng, surgery
from lmc_lib.models import ModelSpec
from lmc_lib.surgery import Chain, Residual

IMAGES = torch.randn(3, 1, 8, 8, generator=rng.stream(0, "images"), dtype=torch.float64)


def built(name, random_weights, width=4):
    network = models.build(models.parse(name, width), (1, 8, 8), 5).double().eval()
    network.load_state_dict(random_weights(network, name))
    return network


def drawn(seed, *shape):
    return torch.randn(*shape, generator=rng.stream(seed, "chain"), dtype=torch.float64)


def loss(logits):
    return logits.logsumexp(1).sum()


@pytest.fixture(params=["residual_mlp-5-layer", "residual_mlp-4", "resnet-14-batch", "resnet-8"])
def network(request, random_weights):
    return built(request.param, random_weights)


class TestOrder:
    @pytest.mark.parametrize("name", ["residual_mlp-4-layer", "plain_mlp-4-layer", "resnet-14-batch", "plain-14-layer"])
    def test_all_blocks_as_they_stand_are_the_network(self, name, random_weights):
        network = built(name, random_weights)
        chain = surgery.chain_of(network)
        assert len(chain.blocks) == (4 if "mlp" in name else 6)
        assert torch.equal(chain(IMAGES), network(IMAGES))
        assert torch.equal(chain(IMAGES, range(len(chain.blocks))), network(IMAGES))

    @given(st.lists(st.integers(0, 2), max_size=5))
    def test_blocks_run_as_the_order_has_them(self, order):
        """Any order, with places left out or repeated, of maps that do not commute."""
        chain = Chain(lambda x: x + 1, (lambda x: 3 * x, lambda x: x - 2, lambda x: x**2), lambda x: -x)
        x = 1.5
        for place in order:
            x = (3 * x, x - 2, x**2)[place]
        assert chain(torch.tensor(0.5, dtype=torch.float64), order) == pytest.approx(-x)

    def test_a_block_whose_branch_is_zero_can_be_left_out(self, network):
        chain = surgery.chain_of(network)
        for place, block in enumerate(chain.blocks):
            idle = Residual(lambda x, block=block: 0.0 * block.branch(x), block.skip, block.after)
            changed = replace(chain, blocks=(*chain.blocks[:place], idle, *chain.blocks[place + 1 :]))
            assert torch.equal(surgery.without(changed, [place])(IMAGES), changed(IMAGES))
            assert torch.equal(surgery.without(chain, [place])(IMAGES), changed(IMAGES))
            assert not torch.allclose(changed(IMAGES), chain(IMAGES))

    def test_without_a_plain_block_its_input_goes_on(self, random_weights):
        chain = surgery.chain_of(built("plain_mlp-4-layer", random_weights))
        assert torch.equal(surgery.without(chain, [1, 3])(IMAGES), chain(IMAGES, [0, 2]))

    def test_without_a_residual_block_that_keeps_the_shape_it_is_as_if_it_were_not_there(self, random_weights):
        chain = surgery.chain_of(built("resnet-14-batch", random_weights))
        assert torch.equal(surgery.without(chain, [1, 5])(IMAGES), chain(IMAGES, [0, 2, 3, 4]))

    @pytest.mark.parametrize(
        ("name", "groups"),
        [
            ("residual_mlp-4", [[0, 1, 2, 3]]),
            ("resnet-20-layer", [[0, 1, 2], [4, 5], [7, 8]]),
            ("plain-14", [[0, 1], [3], [5]]),
        ],
    )
    def test_exchangeable_blocks_keep_one_shape(self, name, groups, random_weights):
        chain = surgery.chain_of(built(name, random_weights))
        assert surgery.exchangeable(chain, IMAGES) == groups
        for one, other in itertools.chain.from_iterable(itertools.combinations(each, 2) for each in groups):
            order = list(range(len(chain.blocks)))
            order[one], order[other] = order[other], order[one]
            assert chain(IMAGES, order).shape == (3, 5)

    @pytest.mark.parametrize("place", [-1, 4])
    def test_there_is_no_block_elsewhere(self, place, random_weights):
        chain = surgery.chain_of(built("plain_mlp-4", random_weights))
        with pytest.raises(ValueError, match=f"no block at place {place}: the chain has 4"):
            chain(IMAGES, [0, place])
        with pytest.raises(ValueError, match=f"no block at place {place}: the chain has 4"):
            surgery.without(chain, [place])

    @pytest.mark.parametrize("name", ["mlp-2", "gap"])
    def test_what_is_no_chain_is_refused(self, name):
        network = models.build(ModelSpec("mlp", 3, 2), (1, 8, 8), 5)
        if name == "gap":
            network = nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU(), nn.Sequential(nn.ReLU()))
        with pytest.raises(ValueError, match="make a Chain of stem, blocks and head"):
            surgery.chain_of(network)


class TestGradients:
    def test_they_sum_to_the_gradient(self, network):
        chain = surgery.chain_of(network)
        x = chain.stem(IMAGES).detach().requires_grad_()
        y = x
        for block in chain.blocks:
            y = block(y)
        (whole,) = torch.autograd.grad(loss(chain.head(y)), x)
        parts = surgery.gradients_by_length(chain, IMAGES, loss)
        assert len(parts) == 1 + len(chain.blocks)
        assert torch.allclose(parts.sum(0), whole, rtol=0, atol=1e-12 * float(whole.abs().max()))

    def test_those_of_a_length_are_the_sum_over_its_paths(self, network):
        chain = surgery.chain_of(network)
        count = len(chain.blocks)
        paths = torch.tensor(list(itertools.product([False, True], repeat=count)))
        single = surgery.gradients_of_paths(chain, IMAGES, loss, paths)
        for length, part in enumerate(surgery.gradients_by_length(chain, IMAGES, loss)):
            total = single[paths.sum(1) == length].sum(0)
            assert torch.allclose(total, part, rtol=0, atol=1e-12 * float(single.abs().max()))

    def test_that_of_a_path_detaches_what_is_not_on_it(self, network):
        """Veit's way: the others pass values and no gradient."""
        chain = surgery.chain_of(network)
        path = [place % 3 != 1 for place in range(len(chain.blocks))]
        x = start = chain.stem(IMAGES).detach().requires_grad_()
        for block, inside in zip(chain.blocks, path, strict=True):
            inner, past = block.branch(x), block.skip(x)
            x = block.after(inner + past.detach() if inside else inner.detach() + past)
        (expected,) = torch.autograd.grad(loss(chain.head(x)), start)
        (found,) = surgery.gradients_of_paths(chain, IMAGES, loss, torch.tensor([path]))
        assert torch.allclose(found, expected, rtol=0, atol=1e-13)

    def test_of_a_linear_chain_they_are_products_of_matrices(self):
        matrices, last = [drawn(seed, 3, 3) for seed in range(4)], drawn(9, 3)
        blocks = tuple(Residual(lambda x, each=each: x @ each.T) for each in matrices)
        chain = Chain(lambda x: x, blocks, lambda x: x @ last)
        parts = surgery.gradients_by_length(chain, drawn(10, 2, 3), torch.sum)
        for length, part in enumerate(parts):
            expected = torch.zeros(3, dtype=torch.float64)
            for inside in itertools.combinations(range(4), length):
                product = last
                for place in reversed(inside):
                    product = matrices[place].T @ product
                expected += product
            assert torch.allclose(part, expected.expand(2, 3))

    @pytest.mark.parametrize("gain", [0.25, 1.0, 1.5])
    def test_branches_of_one_gain_have_binomial_shares(self, gain):
        """Rotations by different angles: the share of branches on a path is g / (1 + g)."""
        rotations = [torch.linalg.qr(drawn(seed, 4, 4))[0] for seed in range(6)]
        blocks = tuple(Residual(lambda x, each=each: gain * x @ each) for each in rotations)
        chain = Chain(lambda x: x, blocks, lambda x: x.square().sum(1))
        shares = surgery.path_shares(chain, drawn(8, 5, 4), torch.sum, paths=3, generator=rng.stream(0))
        p = gain / (1.0 + gain)
        expected = [math.comb(6, k) * p**k * (1 - p) ** (6 - k) for k in range(7)]
        assert shares.tolist() == pytest.approx(expected, rel=1e-12)

    def test_shares_are_means_over_the_paths_of_each_length(self):
        """Blocks of different gains, and so many draws that the mean over paths is that over all."""
        gains = [0.2, 0.7, 1.3, 0.5]
        chain = Chain(lambda x: x, tuple(Residual(lambda x, g=g: g * x) for g in gains), lambda x: x)
        shares = surgery.path_shares(chain, drawn(0, 1, 2), torch.sum, paths=4000, generator=rng.stream(0))
        sums = [sum(map(math.prod, itertools.combinations(gains, k))) for k in range(5)]
        assert shares.tolist() == pytest.approx([each / sum(sums) for each in sums], rel=0.03)

    def test_examples_are_weighted_alike_by_their_norm(self):
        """Of two examples the gradient of one comes on the skip alone, of the other on both ways."""
        branch = Residual(lambda x: x * torch.tensor([[0.0], [3.0]], dtype=torch.float64))
        chain = Chain(lambda x: x, (branch,), lambda x: x)
        shares = surgery.path_shares(chain, drawn(0, 2, 4), torch.sum, paths=1, generator=rng.stream(0))
        assert shares.tolist() == pytest.approx([2 / 5, 3 / 5])

    def test_they_carry_no_gradient_and_leave_the_network_alone(self, network):
        chain = surgery.chain_of(network)
        before = {name: each.clone() for name, each in network.state_dict().items()}
        assert not surgery.gradients_by_length(chain, IMAGES, loss).requires_grad
        assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
        assert all(each.grad is None for each in network.parameters())

    def test_a_plain_block_has_no_paths(self, random_weights):
        chain = surgery.chain_of(built("plain_mlp-4", random_weights))
        with pytest.raises(ValueError, match="block 0 has no branch and skip"):
            surgery.gradients_by_length(chain, IMAGES, loss)
