"""A synthetic language whose entropy is known, and small decoders that learn it, many at once."""

__all__ = ["Biases", "Chain", "Decoder"]

from lmc_lib.language.chain import Chain
from lmc_lib.language.decoder import Biases, Decoder
