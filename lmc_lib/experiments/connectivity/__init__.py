"""Between networks: lines, chains and simplices, and what permutations and masks carry from one to another."""

__all__ = [
    "chains", "mask_transfer", "pair", "pruned_pairs", "searches", "simplices", "strategies", "trajectories", "volumes"
]  # fmt: skip
