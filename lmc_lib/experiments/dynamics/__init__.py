"""How single networks move in training: what is conserved, how lengths adapt steps, and what is solved exactly."""

__all__ = ["adaptation", "adaptive", "autoencoders", "conservation", "critical_points", "lengths", "motions", "regimes"]
