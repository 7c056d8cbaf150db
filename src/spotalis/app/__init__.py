"""The composition root: the one place that reads clock, environment and entropy."""
