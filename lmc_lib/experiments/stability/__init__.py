"""Stability: twins that differ from one step of training on, and what makes them end in one basin or in two."""

__all__ = ["butterfly", "finetuning", "paths_of_twins", "twins"]
