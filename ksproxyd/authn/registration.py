"""Somebody whom an identity provider knows and who has no account here (``mappingMethod: manual``; spec 02, 4.5)."""

from __future__ import annotations

import msgspec

from ksproxyd.authn.tokens.claims import Extra


class Registration(msgspec.Struct, frozen=True):
    """Who may create one account, linked with ``uid`` at the identity provider ``idp``.

    ``username`` and ``email`` are what the provider says, as a proposal; either may be empty.
    """

    idp: str
    uid: str
    username: str
    email: str = ""

    def extra(self) -> Extra:
        """The attributes of the pre-registration identity, as they stand in its tokens."""
        pairs = (("idp", self.idp), ("uid", self.uid), ("username", self.username), ("email", self.email))
        return tuple((key, (value,)) for key, value in pairs)
