"""What sweeps cost at the scale of papers: their results and operations, their time on many devices, the overhead."""
