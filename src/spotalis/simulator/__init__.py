"""Runs the operator against an embedded cluster and reports what happens."""
