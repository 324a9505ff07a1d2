"""What the checks need of a client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


class Answer:
    """A whole answer. ``headers`` have lower-case names; ``json`` is None if the body is something else."""

    def __init__(self, status: int, headers: dict[str, str], json: Any, text: str) -> None:
        self.status = status
        self.headers = headers
        self.json = json
        self.text = text

    @property
    def message(self) -> str:
        return self.json["message"] if isinstance(self.json, dict) else self.text

    @property
    def reason(self) -> str:
        return self.json.get("reason", "")

    @property
    def causes(self) -> set[tuple[str, str]]:
        """Reason and field of every cause."""
        return {(cause["reason"], cause["field"]) for cause in self.json["details"]["causes"]}

    @property
    def rv(self) -> str:
        return self.json["metadata"]["resourceVersion"]

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.text[:300]}>"


class Watch(ABC):
    """A watch that has been accepted."""

    status: int
    headers: dict[str, str]

    @abstractmethod
    def take(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` events; fails if they do not come."""

    @abstractmethod
    def quiet(self) -> bool:
        """Whether no event comes for a moment."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether the server ends it, within a moment, without another event."""

    @abstractmethod
    def close(self) -> None:
        """Stop watching."""


class Client(ABC):
    """Talks to one API server as its administrator."""

    @abstractmethod
    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request. A ``body`` that is not text or bytes is sent as JSON; ``headers`` may say another type."""

    @abstractmethod
    def watch(self, path: str, headers: dict[str, str] | None = None) -> Watch:
        """A request whose answer is a watch."""

    @abstractmethod
    def eventually(self, condition: Callable[[], Any]) -> Any:
        """Give the server time until ``condition()`` is true (its value is returned); fails if that takes long."""

    # -- in short ------------------------------------------------------------------------------------------

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any) -> Answer:
        return self.request("POST", path, body)

    def put(self, path: str, body: Any) -> Answer:
        return self.request("PUT", path, body)

    def delete(self, path: str, body: Any = None) -> Answer:
        return self.request("DELETE", path, body)

    def patch(self, path: str, body: Any, kind: str = MERGE) -> Answer:
        return self.request("PATCH", path, body, {"Content-Type": kind})

    def make(self, path: str, body: Any) -> dict[str, Any]:
        """Create an object that is good."""
        answer = self.post(path, body)
        assert answer.status == 201, answer
        return answer.json
