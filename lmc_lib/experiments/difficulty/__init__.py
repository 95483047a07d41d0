"""Examples: scores of how hard they are for networks, what scores have in common, and what they are good for."""

__all__ = [
    "agreement", "contrasts", "data_pruning", "fingerprints", "label_errors", "pictures", "reliability", "score_table",
    "scores",
]  # fmt: skip
