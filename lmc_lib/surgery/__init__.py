"""Networks taken apart: blocks run in any order, with any left out."""

__all__ = [
    "Chain", "Residual", "chain_of", "exchangeable", "gradients_by_length", "gradients_of_paths", "path_shares",
    "without",
]  # fmt: skip

from lmc_lib.surgery.chain import (
    Chain,
    Residual,
    chain_of,
    exchangeable,
    gradients_by_length,
    gradients_of_paths,
    path_shares,
    without,
)
