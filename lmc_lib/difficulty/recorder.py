"""Scores of the examples of any training, from what its loop has at hand: ids, logits and labels of each batch."""

__all__ = ["Recorder", "reliabilities"]

import csv
import io
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from lmc_lib import expected, files
from lmc_lib.difficulty.correlation import check_replicates, reliability
from lmc_lib.difficulty.learning import History
from lmc_lib.difficulty.orientation import harder
from lmc_lib.difficulty.predictions import POINTWISE, check

# Places for examples at first; twice as many whenever they are full.
_PLACES = 1024

_NEW = -1


class Recorder:
    r"""What a training says of the difficulty of its examples, from the batches that it trains on.

    One call a batch, ``recorder.update(ids, logits, labels)``, wherever the loop has the logits: what the network
    answers while it trains is what most of these scores were defined on. Each time that an example stands in a batch is
    a *presentation* of it, and steps are counted in its own presentations; so examples may come in any order, an
    incomplete last batch may be left out, and one that stands twice in a batch, as when drawn with replacement, has two
    presentations.

    All scores are counts, running moments or last values, so that the memory does not grow with the number of epochs:
    32 bytes an example for each of ``names``, about 100 for the rest, and the id.

    The scores that follow from logits alone are here. Those of ``SCORES`` that need more are not: of gradients
    (``grand``, ``vog``), of representations (``prediction_depth``, distances to prototypes), and of several networks
    (``memorisation``, ``agreement`` and others).

    As a callback: ``class Scores(Recorder, lightning.Callback)`` takes ``"ids"``, ``"logits"`` and ``"labels"`` from
    what ``training_step`` returns, and ``class Scores(Recorder, transformers.TrainerCallback)`` watches the model
    (:meth:`watch`) from the beginning of the training to its end. With several processes each records the examples
    that it trains on.

    Args:
        names: the scores of single presentations whose mean and last value are kept, of ``POINTWISE``.

    Raises:
        ValueError: if a score is unknown.

    Example:
        >>> recorder = Recorder(["logit_margin"])
        >>> for logits in ([[2.0, 0.0], [1.0, 0.0]], [[4.0, 0.0], [0.0, 2.0]]):
        ...     recorder.update(["cat.png", "dog.png"], torch.tensor(logits), torch.tensor([0, 1]))
        >>> recorder.ids(), recorder.scores()["aum"].tolist(), recorder.scores()["first_learned"].tolist()
        (['cat.png', 'dog.png'], [-3.0, -0.5], [0.0, 1.0])
    """

    def __init__(self, names: Collection[str] = tuple(POINTWISE)) -> None:
        self._places: dict[Hashable, int] = {}
        self._labels = torch.zeros(_PLACES, dtype=torch.int64)
        self._history = History(self._labels, names)
        self._kept = tuple(names)
        self._stops: list[Callable[[], None]] = []

    def update(self, ids: Any, logits: Float[Tensor, "rows classes"], labels: Tensor) -> None:
        """Takes in one batch; after an error the record is as before.

        Args:
            ids: what tells the examples apart in the whole training, one a row: whole numbers, such as their places in
                the data set, or names; a tensor, an array or a sequence.
            logits: what the network answered, on any device and in any precision.
            labels: the class of each example.

        Raises:
            ValueError: if there are not as many ids, logits and labels, an id is neither a whole number nor a name, or
                not of the kind of the others, a label is no class or another one than before, or a logit is not finite.
        """
        names = _names(ids)
        logits = logits.detach()
        labels = expected.labels(labels.detach(), examples=len(logits), classes=logits.shape[1]).cpu()
        if len(names) != len(logits):
            raise ValueError(f"every row of logits needs one id, got {len(logits)} rows and {len(names)} ids")
        self._check(names, logits, labels)
        check(logits, labels)
        if not names:
            return
        for name in names:
            self._places.setdefault(name, len(self._places))
        if len(self._places) > len(self._labels):
            self._grow(len(self._places))
        places = torch.tensor([self._places[name] for name in names])
        self._labels[places] = labels
        for rows in _rounds(names):
            self._history.update(logits[rows.to(logits.device)], places[rows])

    def ids(self) -> list[Any]:
        """The examples that were seen, in the order of their ids, which is that of all arrays."""
        return sorted(self._places)

    def labels(self) -> Int[ndarray, " examples"]:
        """The class of each example."""
        labels: ndarray = self._labels[torch.from_numpy(self._order())].numpy()
        return labels

    def presentations(self) -> Int[ndarray, " examples"]:
        """How often each example stood in a batch."""
        return self._seen().learning.updates()

    def scores(self, never: str = "updates") -> dict[str, Float[ndarray, " examples"]]:
        """All scores by name, turned so that higher means harder (:func:`harder`).

        The mean and the last value of each of ``names``; ``"aum"`` is the mean ``"logit_margin"`` and ``"variability"``
        the deviation of the confidence, where these are kept. Counts of unequal numbers of presentations do not compare
        well: hold them against :meth:`presentations`.

        Args:
            never: the convention for examples that were never right, see ``Learning.forgetting``.

        Raises:
            ValueError: if nothing was recorded, or the convention is unknown.

        Returns:
            One value an example, in the order of :meth:`ids`; the variability of an example with one presentation is
            NaN.
        """
        history = self._seen()
        learning = history.learning
        scores = {f"mean {name}": history.mean(name) for name in self._kept}
        scores |= {f"final {name}": history.final(name) for name in self._kept}
        if "logit_margin" in self._kept:
            scores["aum"] = scores["mean logit_margin"]
        if "confidence" in self._kept:
            often = np.flatnonzero(learning.updates() > 1)
            scores["variability"] = np.full(len(learning.updates()), np.nan)
            scores["variability"][often] = history.taken(often, torch.zeros(len(often)).long()).variability()
        scores |= {
            "correctness": learning.correctness(),
            "forgetting": learning.forgetting(never),
            "unforgettable": learning.unforgettable(),
            "first_learned": learning.first_learned(),
            "iteration_learned": learning.iteration_learned(),
            "first_forgotten": learning.first_forgotten(),
            "iteration_unlearned": learning.iteration_unlearned(),
        }
        return {name: harder(name, values) for name, values in scores.items()}

    def write_csv(self, path: Path | str, never: str = "updates") -> None:
        """Writes one row an example: id, label, presentations and all scores, with all their digits.

        What is NaN is empty. A file that stands there is replaced, in one step.

        Raises:
            ValueError: if nothing was recorded.
            OSError: if the file cannot be written.
        """
        scores = self.scores(never)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "label", "presentations", *scores])
        columns = [["" if np.isnan(each) else each for each in values.tolist()] for values in scores.values()]
        writer.writerows(zip(self.ids(), self.labels().tolist(), self.presentations().tolist(), *columns, strict=True))
        files.write(Path(path), text.getvalue().encode())

    def watch(self, model: nn.Module, *, ids: str = "ids", labels: str = "labels") -> Callable[[], None]:
        """Records every call of a network in training mode that is given ids and labels by keyword.

        The ids are taken out of the call before the network sees them. The logits are the network's output, or what it
        has under ``logits``, as networks of Hugging Face do; their trainer hands ids on with
        ``remove_unused_columns=False``. The hooks change nothing else.

        Args:
            model: the network.
            ids: the keyword of the ids.
            labels: the keyword of the labels.

        Returns:
            What ends the watch when it is called.
        """
        waiting: list[Any] = []

        def before(module: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            waiting[:] = [given[ids]] if module.training and ids in given else []
            return args, {name: value for name, value in given.items() if name != ids}

        def after(module: nn.Module, _: tuple[Any, ...], given: dict[str, Any], output: Any) -> None:
            if waiting and labels in given:
                self.update(waiting.pop(), _logits(output), given[labels])

        hooks = [
            model.register_forward_pre_hook(before, with_kwargs=True),
            model.register_forward_hook(after, with_kwargs=True),
        ]

        def stop() -> None:
            for hook in hooks:
                hook.remove()

        return stop

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """What Lightning calls after each batch: ``training_step`` has returned ids, logits and labels by name.

        Raises:
            ValueError: if it has not, or they do not fit, see :meth:`update`.
        """
        del trainer, module, batch, batch_idx
        names = ("ids", "logits", "labels")
        if not isinstance(outputs, Mapping) or any(name not in outputs for name in names):
            raise ValueError("training_step has to return a dictionary with 'loss', 'ids', 'logits' and 'labels'")
        self.update(*(outputs[name] for name in names))

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        """What the trainer of Hugging Face calls first: the watch begins."""
        del args, state, control
        self.on_train_end()
        self._stops.append(self.watch(model))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """What both call last: the watch ends."""
        while self._stops:
            self._stops.pop()()

    def _check(self, names: list[Hashable], logits: Tensor, labels: Tensor) -> None:
        """Refuses a batch that cannot be recorded, by the id of the first example."""
        known = next(iter(self._places), names[0] if names else 0)
        known_labels: dict[Hashable, int] = {}
        finite = logits.isfinite().all(1).tolist()
        for name, label, usable in zip(names, labels.tolist(), finite, strict=True):
            if isinstance(name, str) != isinstance(known, str):
                raise ValueError(f"ids are all whole numbers or all names, got {known!r} and {name!r}")
            before = known_labels.setdefault(
                name, int(self._labels[self._places[name]]) if name in self._places else label
            )
            if before != label:
                raise ValueError(
                    f"example {name!r} had the label {before} before and has {label} now: scores are those of an "
                    "example with its label; give another id to one with another label"
                )
            if not usable:
                raise ValueError(
                    f"a logit of example {name!r} is not finite: leave out a batch whose update was skipped, and a "
                    "network whose training diverged"
                )

    def _grow(self, wanted: int) -> None:
        count = len(self._labels)
        places = 2 ** (wanted - 1).bit_length()
        self._labels = torch.cat([self._labels, torch.zeros(places - count, dtype=torch.int64)])
        self._history = self._history.taken(
            np.r_[np.arange(count), np.full(places - count, _NEW, dtype=np.int64)], self._labels
        )

    def _order(self) -> Int[ndarray, " examples"]:
        return np.array([self._places[name] for name in self.ids()], dtype=np.int64)

    def _seen(self) -> History:
        if not self._places:
            raise ValueError("nothing was recorded: call `update` with each batch of the training")
        order = self._order()
        return self._history.taken(order, self._labels[torch.from_numpy(order)])


def reliabilities(recorders: Sequence[Recorder], never: str = "updates") -> dict[str, float]:
    """How far each score of one training can be trusted: its mean rank correlation between trainings.

    The trainings are of the same examples and differ in their seeds. One training cannot tell: what its epochs agree on
    is also what its seed has made of them. Means over several trainings are more reliable, see
    :func:`~lmc_lib.difficulty.averaging.spearman_brown`.

    Args:
        recorders: at least two.
        never: the convention for examples that were never right.

    Returns:
        By name of a score, from -1 to 1; NaN where a training gives all examples one value, or has none for some.

    Raises:
        ValueError: if there is one training, or they have not the same examples with the same labels.
    """
    check_replicates(np.empty((len(recorders), 0)), 2, "the correlation between trainings")
    first = recorders[0]
    for number, other in enumerate(recorders[1:], 1):
        if alone := set(first._places) ^ set(other._places):
            raise ValueError(
                f"trainings are compared on the same examples, and {min(alone, key=str)!r} stands only in one of "
                f"number 0 and number {number}"
            )
        if not np.array_equal(first.labels(), other.labels()):
            raise ValueError(f"trainings number 0 and number {number} have other labels for the same examples")
    scores = [each.scores(never) for each in recorders]
    stacks = {name: np.stack([each[name] for each in scores]) for name in scores[0]}
    return {name: float("nan") if np.isnan(stack).any() else reliability(stack) for name, stack in stacks.items()}


def _names(ids: Any) -> list[Hashable]:
    """Ids as whole numbers or names, which are the same in every epoch."""
    found = ids.tolist() if isinstance(ids, Tensor | ndarray) else list(ids)
    names = [each.item() if isinstance(each, Tensor | np.generic) else each for each in found]
    for each in names:
        if isinstance(each, bool) or not isinstance(each, int | str):
            raise ValueError(f"an id is a whole number or a name, got {each!r}")
    return names


def _rounds(names: list[Hashable]) -> list[Tensor]:
    """The rows of a batch in parts in which every example stands once: first ones, second ones, and so on."""
    seen: dict[Hashable, int] = {}
    rounds: list[list[int]] = []
    for row, name in enumerate(names):
        number = seen[name] = seen.get(name, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(row)
    return [torch.tensor(rows) for rows in rounds]


def _logits(output: Any) -> Tensor:
    """The logits in what a network returns."""
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(found, Tensor) or found.dim() != 2:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(
            f"the network has to return logits, one row an example, as they are or by this name, got {what}"
        )
    return found
