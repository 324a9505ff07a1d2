"""An embedded Kubernetes API for first runs, development and tests."""
