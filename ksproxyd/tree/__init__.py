"""The resource tree: nodes that answer or forward a request."""
