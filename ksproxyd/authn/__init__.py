"""Who a request is from.

``credentials`` reads what a request shows, ``authenticator`` turns it into an
:class:`~ksproxyd.model.identity.Identity`, and ``rejection`` says why it could not. Behind them: ``tokens`` (issued,
verified, revoked), ``passwords`` and ``lockout``, ``directory`` (the users, in memory), ``providers`` (identities from
elsewhere), ``clients`` (programs that people log in to), ``shared`` (what several gateways must know in common).
"""
