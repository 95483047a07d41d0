"""Examples: scores of how hard they are for networks, what scores have in common, and what they are good for."""
