"""How single networks move in training: what is conserved, and what is solved exactly."""

__all__ = ["autoencoders", "conservation", "critical_points", "decoders", "heads", "motions", "regimes"]
