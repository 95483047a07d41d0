"""How single networks move in training: what is conserved, and what is solved exactly or predicted."""

__all__ = ["autoencoders", "compositions", "conservation", "critical_points", "motions", "regimes"]
