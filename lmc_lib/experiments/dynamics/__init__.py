"""How single networks move in training: what is conserved, how lengths adapt steps, and what is solved exactly."""

__all__ = [
    "adaptation", "adaptive", "additions", "autoencoders", "breaking", "compositions", "conservation",
    "critical_points", "decoders", "displacements", "edges", "filters", "heads", "lengths", "magnitudes", "margins",
    "motions", "neural_collapse", "neurons", "regimes", "regressions", "schedules", "students", "widths",
]  # fmt: skip
