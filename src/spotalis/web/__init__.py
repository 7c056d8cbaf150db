"""The health and metrics endpoints."""
