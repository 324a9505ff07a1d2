"""Keeping User objects and what belongs to them in order, where no other controller does (spec 02, 6.7)."""
