"""Single networks: how they are trained, what they are pruned to, and children that start from a checkpoint."""

__all__ = [
    "children", "collapse", "compressed", "feature_maps", "geometry", "metric_laws", "movement", "pruned", "runs",
    "saliency",
]  # fmt: skip
