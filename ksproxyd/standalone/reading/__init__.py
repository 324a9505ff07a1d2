"""From stored objects to an answer."""
