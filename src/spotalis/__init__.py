"""Spotalis keeps the replicas of Kubernetes workloads split between spot and on-demand nodes."""

__version__ = "0.1.0"
