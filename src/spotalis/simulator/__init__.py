"""Runs the operator against an embedded cluster and tells what happened."""
