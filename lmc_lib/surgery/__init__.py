"""Networks taken apart and put together anew: cut at a layer, and stitched to another network."""

__all__ = ["cut", "join", "least_squares", "penalty", "through", "train_stitches"]

from lmc_lib.surgery.stitching import cut, join, least_squares, penalty, through, train_stitches
