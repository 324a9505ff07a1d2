"""Which resource of the API, and the paths at which it is served."""

from __future__ import annotations

from urllib.parse import quote

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """A resource type of one API version; ``group`` is empty for the core API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = False

    @property
    def api_version(self) -> str:
        """``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of one object, or of a collection when ``name`` is empty.

        An empty ``namespace`` of a namespaced resource means all namespaces, which only a collection has.
        Raises :class:`ValueError` for an address that cannot exist.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self} has no namespaces")
        if self.namespaced and name and not namespace:
            raise ValueError(f"an object of {self} has a namespace")
        if subresource and not name:
            raise ValueError(f"a subresource of {self} belongs to a named object")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{_segment(namespace)}" if namespace else ""
        tail = "".join(f"/{_segment(part)}" for part in (name, *subresource.split("/")) if part)
        return f"{root}{within}/{self.plural}{tail}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _segment(text: str) -> str:
    """``text`` as exactly one path segment, so that a name can never address something else."""
    if text in (".", ".."):
        raise ValueError(f"{text!r} is not a name")
    return quote(text, safe=":")
