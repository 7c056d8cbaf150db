"""The functional core: facts in, a value out."""
