"""OAuth 2.0 and OpenID Connect, for programs and for browsers (spec 02, 3)."""
