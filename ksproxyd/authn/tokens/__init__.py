"""Tokens: issued, verified, kept and revoked (spec 02, 2)."""
