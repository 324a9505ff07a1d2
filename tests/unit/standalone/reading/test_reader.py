from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from contract.client import TABLE
from contract.in_memory import MemoryClient
from contract.objects import config_map, config_maps, names

from ksproxyd.standalone.storage.store import Store
from ksproxyd.standalone.wire.request import Reply, Request

PATH = config_maps("default")


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def fill(api: MemoryClient, count: int) -> None:
    for number in range(count):
        api.make(PATH, config_map(f"c{number:04}", x=str(number)))


def raw(api: MemoryClient, path: str) -> Reply:
    place, _, query = path.partition("?")
    reply = api.api.handle(Request.of("GET", place.encode(), query.encode()))
    assert isinstance(reply, Reply)
    return reply


def test_short_list_is_one_piece(api: MemoryClient) -> None:
    fill(api, 3)
    reply = raw(api, PATH)
    assert reply.chunks is None
    assert names_of(reply.body) == ["c0000", "c0001", "c0002"]


def names_of(body: bytes) -> list[str]:
    return [item["metadata"]["name"] for item in json.loads(body)["items"]]


def test_long_list_comes_in_pieces_of_one_state(api: MemoryClient) -> None:
    fill(api, 450)
    reply = raw(api, PATH)
    assert reply.chunks is not None
    pieces = [next(reply.chunks)]
    for number in range(0, 450, 7):
        api.patch(f"{PATH}/c{number:04}", {"data": {"x": "changed"}})
    api.delete(f"{PATH}/c0449")
    pieces += reply.chunks
    assert len(pieces) == 5
    found = json.loads(b"".join(pieces))
    assert [item["data"]["x"] for item in found["items"]] == [str(number) for number in range(450)]
    assert int(found["metadata"]["resourceVersion"]) < api.store.revision


def test_abandoned_list_does_not_hold_history() -> None:
    api = MemoryClient(Store(history=20))
    fill(api, 450)
    reply = raw(api, PATH)
    chunks: Any = reply.chunks
    next(chunks)
    chunks.close()
    before = api.store.revision
    for number in range(300):
        api.patch(f"{PATH}/c0000", {"data": {"x": f"again {number}"}})
    assert api.store.floor > before


def test_long_page_of_a_table_comes_in_pieces(api: MemoryClient) -> None:
    fill(api, 250)
    answer = api.get(f"{PATH}?limit=220", TABLE)
    assert len(answer.json["rows"]) == 220
    assert answer.json["metadata"]["remainingItemCount"] == 30


def test_limit_that_is_met_exactly_at_a_portion(api: MemoryClient) -> None:
    fill(api, 200)
    for limit in (99, 100, 101, 199, 200, 201):
        answer = api.get(f"{PATH}?limit={limit}")
        assert len(answer.json["items"]) == min(limit, 200)
        assert ("continue" in answer.json["metadata"]) is (limit < 200)


@pytest.mark.parametrize("limit", [1, 3, 100, 150])
def test_pages_with_a_selector_miss_nothing(api: MemoryClient, limit: int) -> None:
    for number in range(230):
        labels = {"pick": "yes"} if number % 3 == 0 else None
        api.make(PATH, config_map(f"c{number:04}", labels))
    expected = [f"c{number:04}" for number in range(0, 230, 3)]
    found, token = [], ""
    while True:
        answer = api.get(f"{PATH}?labelSelector=pick&limit={limit}" + (f"&continue={quote(token)}" if token else ""))
        found += names(answer)
        token = answer.json["metadata"].get("continue", "")
        if not token:
            break
    assert found == expected


def test_expired_continue_token_is_gone_with_a_new_one(api: MemoryClient) -> None:
    fill(api, 5)
    token = api.get(f"{PATH}?limit=2").json["metadata"]["continue"]
    api.delete(f"{PATH}/c0003")
    api.store.compact(api.store.revision)
    answer = api.get(f"{PATH}?limit=2&continue={quote(token)}")
    assert (answer.status, answer.reason) == (410, "Expired")
    assert "The provided continue parameter is too old" in answer.message
    token = answer.json["metadata"]["continue"]
    answer = api.get(f"{PATH}?continue={quote(token)}")
    assert names(answer) == ["c0002", "c0004"]
    assert answer.rv == str(api.store.revision)


def test_exact_list_of_the_forgotten_past_is_gone(api: MemoryClient) -> None:
    fill(api, 2)
    then = api.get(PATH).rv
    fill_more = config_map("later")
    api.make(PATH, fill_more)
    api.store.compact(api.store.revision)
    answer = api.get(f"{PATH}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert (answer.status, answer.reason) == (410, "Expired")
    answer = api.get(f"{PATH}?resourceVersion={then}&limit=1")
    assert answer.status == 410


@pytest.mark.parametrize("token", ["e30", "eyJ2IjoieCIsInJ2IjoxLCJzdGFydCI6Ii9hIn0", "%F0%9F%98%80", "a" * 5000])
def test_forged_continue_tokens_are_bad_requests(api: MemoryClient, token: str) -> None:
    answer = api.get(f"{PATH}?continue={token}")
    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith("invalid continue token: continue key is not valid")


def test_negative_limit_is_none(api: MemoryClient) -> None:
    fill(api, 3)
    assert len(api.get(f"{PATH}?limit=-1").json["items"]) == 3


def test_long_delete_collection_is_done_as_the_answer_is_taken(api: MemoryClient) -> None:
    fill(api, 250)
    reply = api.api.handle(Request.of("DELETE", PATH.encode()))
    assert isinstance(reply, Reply)
    assert reply.chunks is not None
    next(reply.chunks)
    left = len(api.get(PATH).json["items"])
    assert 0 < left < 250
    assert len(b"".join(reply.chunks)) > 0
    assert api.get(PATH).json["items"] == []


def test_delete_collection_keeps_what_finalizers_hold(api: MemoryClient) -> None:
    api.make(PATH, {"metadata": {"name": "held", "finalizers": ["example.com/x"]}})
    api.make(PATH, config_map("free"))
    assert api.delete(PATH).status == 200
    (item,) = api.get(PATH).json["items"]
    assert item["metadata"]["name"] == "held"
    assert item["metadata"]["deletionTimestamp"]


def test_big_yaml_answer_is_json_which_is_yaml(api: MemoryClient) -> None:
    for number in range(30):
        api.make(PATH, config_map(f"c{number}", x="y" * 10_000))
    answer = api.get(PATH, {"Accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert len(answer.json["items"]) == 30
