"""Tokens: the keys that sign them, what they say, and what is kept about them."""

from __future__ import annotations

from ksproxyd.authn.tokens.claims import ACCESS, ID, REFRESH, STATIC, Claims, Issued, Lifetimes
from ksproxyd.authn.tokens.keys import KeyProblem, KeyRing
from ksproxyd.authn.tokens.service import Tokens

__all__ = ["ACCESS", "ID", "REFRESH", "STATIC", "Claims", "Issued", "KeyProblem", "KeyRing", "Lifetimes", "Tokens"]
