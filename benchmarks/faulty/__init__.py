"""Faults of many kinds, done to the store and to those who fill it, and what is counted of each."""
