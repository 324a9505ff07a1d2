"""Kinds without an API of their own below ``/kapis``: get, list, watch, create, update, patch, delete (spec 04, 10)."""
