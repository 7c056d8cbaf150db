"""Programs with figures (performance.md): never timed tests, always side by side in one run."""
