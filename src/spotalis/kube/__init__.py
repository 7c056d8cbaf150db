"""The only package that knows API paths and raw JSON of a Kubernetes API server."""
