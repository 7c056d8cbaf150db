"""The composition root: it wires the operator, and reads the clock and randomness."""
