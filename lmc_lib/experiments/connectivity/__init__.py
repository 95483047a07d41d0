"""Between networks: lines, chains and simplices, and what permutations and masks carry from one to another."""
