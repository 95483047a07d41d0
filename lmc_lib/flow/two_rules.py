"""Tasks in which two rules tell the class and agree, so that whoever has learnt either has learnt the task.

Both rules are of one kind, each of some symbols of its own; the other symbols say nothing. Which of them a network
follows does not show where they agree; where they disagree, its answer tells.
"""

__all__ = ["TASKS", "Task", "parities", "sums"]

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

_SYMBOLS = 3

Task = Callable[..., tuple[Float[Tensor, "examples inputs"], Int[Tensor, " examples"]]]


def parities(
    examples: int, length: int, order: int, *, agree: bool, generator: Generator
) -> tuple[Float[Tensor, "examples length"], Int[Tensor, " examples"]]:
    """Signs, whose class is the product of the first few by one rule, and of the next few by the other.

    All inputs on which the rules agree are equally likely, or all on which they do not.

    Args:
        examples: how many are drawn.
        length: number of signs.
        order: number of signs of a rule.
        agree: whether the rules agree.
        generator: the stream.

    Returns:
        The signs, in float64, and the classes by the first rule: 1 where its product is negative.

    Raises:
        ValueError: if there are fewer signs than the two rules take, or a rule takes none.

    Example:
        >>> from lmc_lib import rng
        >>> inputs, classes = parities(4, 5, 2, agree=False, generator=rng.stream(0))
        >>> [((inputs[:, each] * inputs[:, each + 1] < 0).long() == classes).tolist() for each in (0, 2)]
        [[True, True, True, True], [False, False, False, False]]
    """
    _check(length, order)
    signs = 2.0 * torch.randint(2, (examples, length), generator=generator).double() - 1.0
    first, second = signs[:, :order].prod(1), signs[:, order : 2 * order].prod(1)
    signs[:, order] *= first * second * (1.0 if agree else -1.0)
    return signs, (first < 0).long()


def sums(
    examples: int, length: int, order: int, *, agree: bool, generator: Generator
) -> tuple[Float[Tensor, "examples inputs"], Int[Tensor, " examples"]]:
    """Numbers from 0 to 2, whose class is the sum modulo 3 of the first few by one rule, of the next few by the other.

    Args:
        examples: how many are drawn.
        length: count of numbers.
        order: count of numbers of a rule.
        agree: whether the rules agree; if not, each of the two other classes of the second rule is equally likely.
        generator: the stream.

    Returns:
        The numbers, each one-hot by three inputs of mean square 1, in float64, and the classes by the first rule.

    Raises:
        ValueError: as for :func:`parities`.
    """
    _check(length, order)
    numbers = torch.randint(_SYMBOLS, (examples, length), generator=generator)
    shift = 0 if agree else torch.randint(1, _SYMBOLS, (examples,), generator=generator)
    first, second = numbers[:, :order].sum(1), numbers[:, order : 2 * order].sum(1)
    numbers[:, order] = (numbers[:, order] + first + shift - second) % _SYMBOLS
    return F.one_hot(numbers, _SYMBOLS).double().flatten(1) * _SYMBOLS**0.5, first % _SYMBOLS


TASKS: dict[str, Task] = {"parities": parities, "sums": sums}


def _check(length: int, order: int) -> None:
    if not 1 <= order <= length // 2:
        raise ValueError(
            f"two rules of {order} symbols each do not fit into {length}: a rule takes from 1 to half of the symbols"
        )
