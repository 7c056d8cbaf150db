"""Kubernetes objects as plain JSON: their kinds, and what every layer reads from them."""
