"""Who a request is from."""

from __future__ import annotations

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """An authenticated (or anonymous) subject, as decided once by the authentication step.

    ``extra`` holds further attributes, each key with its values, as Kubernetes' user info has them.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


#: Nobody in particular: a request without credentials.
ANONYMOUS = Identity("system:anonymous", ("system:unauthenticated",))
