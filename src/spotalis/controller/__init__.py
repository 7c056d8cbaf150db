"""Reconciling: observe a workload, let the planner decide, evict pods, report the result."""
