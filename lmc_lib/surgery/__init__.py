"""Networks taken apart and put together anew: blocks run in any order, layers cut, and stitched to another network."""

__all__ = [
    "Chain", "Residual", "chain_of", "cut", "exchangeable", "gradients_by_length", "gradients_of_paths", "join",
    "least_squares", "path_shares", "penalty", "through", "train_stitches", "without",
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
from lmc_lib.surgery.stitching import cut, join, least_squares, penalty, through, train_stitches
