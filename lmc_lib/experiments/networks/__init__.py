"""Single networks: how they are trained, what they are pruned to, and children that start from a checkpoint."""

__all__ = ["children", "features", "pruned", "runs"]
