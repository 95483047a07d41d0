"""Single networks: how they are trained, what they are pruned to, and children that start from a checkpoint."""

__all__ = ["children", "feature_maps", "geometry", "metric_laws", "movement", "pruned", "runs"]
