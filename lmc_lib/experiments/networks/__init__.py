"""Single networks: how they are trained, what they are pruned to, and children that part from a training."""
