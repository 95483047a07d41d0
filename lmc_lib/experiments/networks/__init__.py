"""Single networks: how they are trained, what they are pruned to, and children that start from a checkpoint."""

__all__ = [
    "children", "collapse", "compressed", "feature_maps", "geometry", "metric_laws", "monotonicity", "movement",
    "pruned", "runs", "saliency", "straight_lines", "two_rules",
]  # fmt: skip
