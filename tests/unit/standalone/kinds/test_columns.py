from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.standalone.kinds.builtin import builtin_kinds
from ksproxyd.standalone.kinds.columns import duration, selector_text, since
from ksproxyd.standalone.kinds.registry import Kind

NOW = 1_600_000_000.0
STAMP = "2020-09-13T12:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (2920 * 86400, "8y"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_ages() -> None:
    assert since("2020-09-13T12:26:30Z", NOW) == "10s"
    assert since("2020-09-13T14:26:30+02:00", NOW) == "10s"
    assert since("2020-09-13T12:26:30.5", NOW) == "9s"
    for nothing in (None, "", "yesterday", 5):
        assert since(nothing, NOW) == "<unknown>"


def test_selectors() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["y", "x"]},
        {"key": "b", "operator": "NotIn", "values": ["z"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    found = selector_text({"matchLabels": {"m": "1"}, "matchExpressions": expressions})
    assert found == "m=1,a in (x,y),b notin (z),c,!d"
    assert selector_text({}) == selector_text(None) == "<none>"


def shown(kind: str, **value: Any) -> dict[str, Any]:
    found = next(each for each in builtin_kinds() if each.kind == kind)
    return {column.name: column.cell({"metadata": {"name": "a"}, **value}, NOW) for column in found.columns}


@pytest.mark.parametrize("kind", builtin_kinds(), ids=lambda kind: kind.topic)
def test_cells_of_a_bare_object_can_be_shown(kind: Kind) -> None:
    for value in ({"metadata": {}}, {"metadata": {}, "spec": {}, "status": {}}):
        for column in kind.columns:
            cell = column.cell(value, NOW)
            assert cell is None or isinstance(cell, str | int | bool), column.name


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Running"}, "Running"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, "CrashLoopBackOff"),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}, "Completed"),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}, "ExitCode:3"),
        ({"containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}, "Signal:9"),
    ],
)
def test_what_a_pod_does(status: dict[str, Any], expected: str) -> None:
    assert shown("Pod", status=status)["Status"] == expected


def test_pod_that_is_being_deleted() -> None:
    found = next(each for each in builtin_kinds() if each.kind == "Pod")
    cells = {each.name: each.cell({"metadata": {"deletionTimestamp": STAMP}}, NOW) for each in found.columns}
    assert cells["Status"] == "Terminating"


def test_ready_containers_restarts_and_gates() -> None:
    statuses = [{"ready": True, "restartCount": 2}, {"ready": False, "restartCount": 1}]
    conditions = [{"type": "example.com/a", "status": "True"}, {"type": "example.com/b", "status": "False"}]
    gates = [{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]
    found = shown(
        "Pod",
        spec={"containers": [{}, {}], "readinessGates": gates, "nodeName": "n"},
        status={"containerStatuses": statuses, "conditions": conditions, "podIP": "10.0.0.1"},
    )
    assert (found["Ready"], found["Restarts"], found["Readiness Gates"]) == ("1/2", "3", "1/2")
    assert (found["Node"], found["IP"]) == ("n", "10.0.0.1")


def test_ports_and_addresses_of_a_service() -> None:
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]
    found = shown("Service", spec={"type": "NodePort", "ports": ports, "externalIPs": ["1.1.1.1"]})
    assert (found["Port(s)"], found["External-IP"]) == ("80/TCP,53:30053/UDP", "1.1.1.1")
    assert shown("Service", spec={"type": "LoadBalancer"})["External-IP"] == "<pending>"
    ingress = {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "lb"}]}}
    assert shown("Service", spec={"type": "LoadBalancer"}, status=ingress)["External-IP"] == "2.2.2.2,lb"
    assert shown("Service", spec={"type": "ExternalName", "externalName": "x"})["External-IP"] == "x"


def test_state_of_a_node() -> None:
    ready = [{"type": "Ready", "status": "True"}]
    assert shown("Node", status={"conditions": ready})["Status"] == "Ready"
    cordoned = shown("Node", status={"conditions": ready}, spec={"unschedulable": True})
    assert cordoned["Status"] == "Ready,SchedulingDisabled"
    assert shown("Node")["Status"] == "Unknown"


def test_progress_of_a_job() -> None:
    found = shown(
        "Job",
        spec={"completions": 3},
        status={"succeeded": 1, "startTime": STAMP, "conditions": [{"type": "Failed", "status": "True"}]},
    )
    assert (found["Completions"], found["Status"], found["Duration"]) == ("1/3", "Failed", "26m")


def test_subjects_of_a_binding() -> None:
    subjects = [
        {"kind": "User", "name": "u"},
        {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
    ]
    found = shown("RoleBinding", roleRef={"kind": "Role", "name": "r"}, subjects=subjects)
    assert (found["Role"], found["Users"], found["Groups"], found["ServiceAccounts"]) == ("Role/r", "u", "g", "n/s")


def test_events() -> None:
    found = shown("Event", involvedObject={"kind": "Pod", "name": "p"}, lastTimestamp=STAMP, message=" hi ")
    assert (found["Object"], found["Last Seen"], found["Message"]) == ("pod/p", "26m", "hi")
