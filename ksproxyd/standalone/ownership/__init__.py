"""Who owns which fields: server-side apply."""
