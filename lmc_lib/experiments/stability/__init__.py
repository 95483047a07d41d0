"""Stability: twins that part at one step of training, and what makes them end in one basin or in two."""
