"""Text for fine-tuning: sentences with a sentiment, and a published sentence encoder. Both need the extra ``text``."""

from lmc_lib.text.minilm import FEATURES, Encoder, EncoderMissing, encoder
from lmc_lib.text.snippets import ARCHIVE, VERSION, Snippets, read_snippets

__all__ = ["ARCHIVE", "FEATURES", "VERSION", "Encoder", "EncoderMissing", "Snippets", "encoder", "read_snippets"]
