"""What every command raises when it cannot be carried out."""

__all__ = ["Refused"]


class Refused(ValueError):
    """A command that cannot be carried out, with what to do instead."""
