"""The worked examples' gateway, and what happens at the API server between two of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support_rights import RightsWorld, fixtures

from ksproxyd.authz.escalation import Mode

MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY, STRATEGIC = "application/apply-patch+yaml", "application/strategic-merge-patch+json"


class GuardWorld(RightsWorld):
    """With more objects, and in a mode of ``ksproxyd.authorization.escalation``."""

    def __init__(self, *more: Any, mode: Mode = "enforce") -> None:
        settings = f'  authorization: {{escalation: "{mode}"}}'
        super().__init__(objects=[*fixtures(), *more], more=settings)

    def before(self, callback: Callable[[str, str], object]) -> None:
        """Have ``callback`` called with method and target before the API server sees a request of the gateway's."""
        backend: Any = self.gateway.embedded
        serve = backend.handler

        def told(conversation: Any, request: Any) -> Any:
            callback(request.method.decode(), request.target.decode())
            return serve(conversation, request)

        backend.handler = told

    def names(self, path: str) -> set[str]:
        """Of what is stored there."""
        return {each["metadata"]["name"] for each in self.stored(path)["items"]}

    @staticmethod
    def kind(root: str, kind: str) -> dict[str, str]:
        """``apiVersion`` and ``kind`` of what is below ``root``."""
        return {"apiVersion": "/".join(root.split("/")[2:4]), "kind": kind}
