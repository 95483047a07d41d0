"""What small systems do that are solved exactly."""

__all__ = ["autoencoders", "critical_points", "regimes"]
