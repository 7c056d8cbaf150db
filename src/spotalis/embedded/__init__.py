"""A Kubernetes API server with its controllers, in this process."""
