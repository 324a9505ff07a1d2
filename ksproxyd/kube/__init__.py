"""Where the Kubernetes API is and how to speak to it."""
