r"""A network as a chain: a stem, blocks and a head, of which any callables can be made.

Blocks run in any order, some of them left out. The blocks of a residual network have a branch and a skip, so that a
path from the first block to the last goes through one or the other of each: there are :math:`2^n` paths through
:math:`n` blocks, and the *length* of one is the number of branches on it. With the activations of the whole network
held, the Jacobian of a block is a sum, that of its branch and that of its skip, and the gradient at the input of the
first block is the sum over paths of the products along them.
"""

__all__ = [
    "Chain", "Residual", "chain_of", "exchangeable", "gradients_by_length", "gradients_of_paths", "path_shares",
    "without",
]  # fmt: skip

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.func import grad, vjp, vmap

from lmc_lib.models import ResidualBlock

Layer = Callable[[Tensor], Tensor]
_Pull = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Residual:
    """A residual block, ``after(branch(x) + skip(x))``.

    Attributes:
        branch: what it adds.
        skip: what goes past the branch.
        after: what becomes of the sum.
    """

    branch: Layer
    skip: Layer = _same
    after: Layer = _same

    def __call__(self, x: Tensor) -> Tensor:
        """Runs the block."""
        return self.after(self.branch(x) + self.skip(x))


@dataclass(frozen=True)
class Chain:
    """A network that is a chain of blocks.

    Attributes:
        stem: what stands before the first block.
        blocks: the blocks; those with a branch and a skip are ``Residual``.
        head: what stands behind the last one.
    """

    stem: Layer
    blocks: tuple[Layer, ...]
    head: Layer

    def __call__(self, inputs: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """Runs the blocks in an order.

        Args:
            inputs: what the stem takes.
            order: the places of blocks, from 0, as they are to run; a place may be missing or stand twice. Without an
                order all blocks run as they stand.

        Raises:
            ValueError: if there is no block at one of the places.
        """
        order = range(len(self.blocks)) if order is None else order
        _check_places(self, order)
        x = self.stem(inputs)
        for place in order:
            x = self.blocks[place](x)
        return self.head(x)


def chain_of(network: nn.Sequential) -> Chain:
    """A residual network of :mod:`lmc_lib.models`, or its plain twin, as a chain that shares its weights.

    Its blocks are those of its layers that consist of layers.

    Raises:
        ValueError: if no layer is a block, or other layers stand between blocks.
    """
    layers = list(network)
    places = [place for place, layer in enumerate(layers) if list(layer.children())]
    if not places or places != list(range(places[0], places[-1] + 1)):
        raise ValueError(
            f"a chain has blocks, one behind the other, and the layers that consist of layers are those at {places}: "
            "make a Chain of stem, blocks and head"
        )
    first, end = places[0], places[-1] + 1
    blocks = (
        Residual(each.branch, each.skip, each.after) if isinstance(each, ResidualBlock) else each
        for each in layers[first:end]
    )
    return Chain(network[:first], tuple(blocks), network[end:])


def exchangeable(chain: Chain, inputs: Tensor) -> list[list[int]]:
    """The places of blocks that can change places with each other, or be left out, in groups.

    Those of a group take one shape, an example's, and keep it. A block that changes the shape is in none.

    Args:
        chain: the chain.
        inputs: what the stem takes.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    with torch.no_grad():
        x = chain.stem(inputs)
        for place, block in enumerate(chain.blocks):
            before, x = x.shape[1:], block(x)
            if x.shape[1:] == before:
                groups.setdefault(tuple(before), []).append(place)
    return list(groups.values())


def without(chain: Chain, places: Collection[int]) -> Chain:
    """The chain with some blocks left out: of a residual one the skip stays, of another nothing does.

    Args:
        chain: the chain.
        places: the places of the blocks to leave out, from 0.

    Raises:
        ValueError: if there is no block at one of the places.
    """
    _check_places(chain, places)
    blocks = (_left(each) if place in places else each for place, each in enumerate(chain.blocks))
    return replace(chain, blocks=tuple(blocks))


@torch.no_grad()
def gradients_by_length(
    chain: Chain, inputs: Tensor, loss: Callable[[Tensor], Tensor]
) -> Float[Tensor, "lengths examples *features"]:
    """The gradient at the input of the first block, by the length of the paths on which it comes.

    Args:
        chain: a chain of residual blocks.
        inputs: what the stem takes.
        loss: from what the head gives to a number.

    Returns:
        For each length from 0 to the number of blocks the sum over all paths of that length; the sum over lengths is
        the gradient.

    Raises:
        ValueError: if a block is not residual.
    """
    x, steps = _steps(chain, inputs)
    gradients: Tensor = grad(lambda each: loss(chain.head(each)))(x)[None]
    for branch, skip, after in reversed(steps):
        above = after(gradients)
        past, through = skip(above), branch(above)
        none = torch.zeros_like(past[:1])
        gradients = torch.cat([past, none]) + torch.cat([none, through])
    return gradients


@torch.no_grad()
def gradients_of_paths(
    chain: Chain, inputs: Tensor, loss: Callable[[Tensor], Tensor], paths: Bool[Tensor, "paths blocks"]
) -> Float[Tensor, "paths examples *features"]:
    """The gradient at the input of the first block that comes on single paths.

    Args:
        chain: a chain of residual blocks.
        inputs: what the stem takes.
        loss: from what the head gives to a number.
        paths: for each path and block whether it goes through the branch, and not through the skip.

    Raises:
        ValueError: if a block is not residual.
    """
    x, steps = _steps(chain, inputs)
    last: Tensor = grad(lambda each: loss(chain.head(each)))(x)
    gradients = last.expand(len(paths), *last.shape)
    for (branch, skip, after), inside in zip(reversed(steps), paths.T.flip(0), strict=True):
        above = after(gradients)
        shape = (-1, *[1] * (above.dim() - 1))
        gradients = torch.where(inside.view(shape), branch(above), skip(above))
    return gradients


def path_shares(
    chain: Chain, inputs: Tensor, loss: Callable[[Tensor], Tensor], *, paths: int, generator: Generator
) -> Float[Tensor, " lengths"]:
    r"""The share of the gradient on paths of each length, by the size of single paths (Veit, Wilber and Belongie 2016).

    The share of length :math:`k` is proportional to :math:`\binom{n}{k}` times the norm of an example's gradient on one
    path of that length, as the mean over examples and some paths drawn at random. Norms add up where gradients would
    cancel, so this is no part of the whole gradient; :func:`gradients_by_length` gives those.

    Args:
        chain: a chain of residual blocks.
        inputs: what the stem takes.
        loss: from what the head gives to the sum over examples of their losses.
        paths: how many are drawn of each length.
        generator: source of the draws.

    Raises:
        ValueError: if a block is not residual.
    """
    count = len(chain.blocks)
    ranks = torch.rand(count + 1, paths, count, generator=generator).argsort(-1)
    drawn = ranks < torch.arange(count + 1)[:, None, None]
    gradients = gradients_of_paths(chain, inputs, loss, drawn.flatten(0, 1))
    norms = gradients.flatten(2).double().norm(dim=2).view(count + 1, -1).mean(1)
    weights = torch.tensor([math.comb(count, length) for length in range(count + 1)], dtype=torch.float64) * norms
    shares: Tensor = weights / weights.sum()
    return shares


def _steps(chain: Chain, inputs: Tensor) -> tuple[Tensor, list[tuple[_Pull, _Pull, _Pull]]]:
    """The input of the head, and how each block pulls a gradient back: by its branch, its skip, and what follows."""
    x, steps = chain.stem(inputs).detach(), []
    for place, block in enumerate(chain.blocks):
        if not isinstance(block, Residual):
            raise ValueError(f"block {place} has no branch and skip, as paths need: make it a surgery.Residual")
        inner, branch = _pulled(block.branch, x)
        past, skip = _pulled(block.skip, x)
        x, after = _pulled(block.after, inner + past)
        steps.append((branch, skip, after))
    return x, steps


def _pulled(layer: Layer, x: Tensor) -> tuple[Tensor, _Pull]:
    """What a layer makes of its input, and how it pulls gradients back, one a row of an axis more in front."""
    found = vjp(layer, x)
    return found[0], lambda gradients: vmap(found[1])(gradients)[0]


def _left(block: Layer) -> Layer:
    """What is left of a block without its branch."""
    return (lambda x: block.after(block.skip(x))) if isinstance(block, Residual) else _same


def _check_places(chain: Chain, places: Collection[int]) -> None:
    if strange := [place for place in places if not 0 <= place < len(chain.blocks)]:
        raise ValueError(f"there is no block at place {strange[0]}: the chain has {len(chain.blocks)}, counted from 0")
