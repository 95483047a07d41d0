"""The state of one pass over a traced graph: which places the dimensions of every tensor have."""

__all__ = ["NotFollowedError", "Walk"]

from collections.abc import Collection, Mapping, Sequence

from torch import fx

from lmc_lib.symmetry.layout import Block, Layout, Places
from lmc_lib.symmetry.nodes import is_tensor, named, operation, relabelled, shape_of, shifted
from lmc_lib.symmetry.units import Ids


class NotFollowedError(ValueError):
    """An operation in a form that has no rule."""


class Walk:
    """What is known so far; the rules of the operations read and extend it.

    Attributes:
        layout: the units and the arrays in which they stand.
        values: the places of each node's tensor.
        several: the places of each tensor of a node that has several.
        entries: the places of each parameter and statistic that the network uses, in the order of the forward pass.
        conditional: for the weight of a grouped convolution the units of its second axis, a row a group.
        pinned: what was pinned because it is not understood, with the reason.
        owner: the name under which an entry of the state dictionary stands in ``entries``.
        written: the nodes whose tensors are written to later.
    """

    def __init__(
        self,
        statistics: frozenset[str],
        parameters: frozenset[str],
        owner: Mapping[str, str],
        written: Collection[fx.Node],
    ) -> None:
        self.layout = Layout()
        self.values: dict[fx.Node, Places] = {}
        self.several: dict[fx.Node, list[Places]] = {}
        self.entries: dict[str, Places] = {}
        self.conditional: dict[str, Ids] = {}
        self.pinned: list[str] = []
        self.owner = owner
        self.written = written
        self._statistics = statistics
        self._parameters = parameters

    def entry(self, node: fx.Node, *, as_statistic: bool) -> Places:
        """The places of a parameter or buffer; of buffers only normalisation statistics can be permuted."""
        if not is_tensor(node) or not node.users:
            return []
        name = self.name(node)
        if name not in self._parameters and not (as_statistic and name in self._statistics):
            return named(shape_of(node))
        # A tensor that stands under several names, or is fetched several times, has its places once.
        return self.entries.setdefault(name, self.layout.fresh(shape_of(node)))

    def name(self, node: fx.Node) -> str:
        """The entry that a node fetches, under the name that it has in ``entries``."""
        return self.owner.get(str(node.target), str(node.target))

    def is_used_once(self, node: fx.Node) -> bool:
        """Says whether a node fetches an entry that nothing else in the network uses."""
        fetched = [each for each in node.graph.nodes if each.op == "get_attr" and self.name(each) == self.name(node)]
        return node.op == "get_attr" and sum(len(each.users) for each in fetched) == 1

    def unknown(self, node: fx.Node, reason: str) -> None:
        """Pins everything that a node touches."""
        sources = node.all_input_nodes
        if any(block.ids is not None for source in sources for block in self.values.get(source, [])):
            self.pinned.append(f"{node.name}: {reason}")
        for source in sources:
            self.pin(source)
        self.values[node] = named(shape_of(node)) if is_tensor(node) else []

    def report(self, node: fx.Node, dims: Collection[int], reason: str) -> None:
        """Notes that these dimensions of a node's argument are pinned, if they have units that could have moved."""
        source = self.source(node)
        touched = [block.ids for block in self.values[source] if not set(block.dims).isdisjoint(dims)]
        if source.op != "get_attr" and any(ids is not None and self.layout.units.any_free(ids) for ids in touched):
            self.pinned.append(f"{node.name}: {operation(node)} {reason}")

    def pin(self, node: fx.Node) -> None:
        """Pins all places of a node's value."""
        self.layout.pin(self.values.get(node, []))
        for places in self.several.get(node, []):
            self.layout.pin(places)

    def kept(self, places: Places, dims: Sequence[int], shape: Sequence[int]) -> Places:
        """The same places with these dimensions of a tensor of this shape pinned."""
        for dim in dims:
            places = self.layout.apart(places, dim)
        self.layout.pin([block for block in places if block.dims[0] in dims])
        others = [block for block in places if block.dims[0] not in dims]
        return [*others, *(Block((dim,), None) for dim in dims if shape[dim] > 1)]

    def operands(self, node: fx.Node) -> list[fx.Node]:
        """The tensors among a node's arguments, in their order."""
        found: list[fx.Node] = []
        for argument in (*node.args, *node.kwargs.values()):
            each = argument if isinstance(argument, list | tuple) else [argument]
            found += [one for one in each if isinstance(one, fx.Node) and is_tensor(one)]
        return found

    def source(self, node: fx.Node) -> fx.Node:
        """The first argument, a tensor."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return source

    def broadcast(self, operands: Sequence[tuple[Places, Sequence[int]]], shape: Sequence[int]) -> Places:
        """Places of an elementwise operation on tensors of these places and shapes."""
        aligned = [shifted(places, len(shape) - len(own)) for places, own in operands]
        return self.layout.combined(aligned, dict(enumerate(shape)))

    def product(self, operands: Sequence[tuple[Places, Sequence[int], str]], result: str) -> Places:
        """Places of an Einstein sum; every dimension of every operand has a letter."""
        labels = {letter: at for at, letter in enumerate(dict.fromkeys(result + "".join(w for _, _, w in operands)))}
        sizes: dict[int, int] = {}
        aligned = []
        for places, shape, word in operands:
            if len(set(word)) < len(word):
                raise NotFollowedError("of a diagonal is not understood")
            for letter, size in zip(word, shape, strict=True):
                sizes[labels[letter]] = max(size, sizes.get(labels[letter], 1))
            aligned.append(relabelled(places, {dim: labels[letter] for dim, letter in enumerate(word)}))
        joint = self.layout.combined(aligned, sizes)
        joint = self.layout.reduced(joint, [at for letter, at in labels.items() if letter not in result])
        return relabelled(joint, {labels[letter]: dim for dim, letter in enumerate(result)})
