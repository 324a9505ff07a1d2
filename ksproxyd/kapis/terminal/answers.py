"""What is answered where a container, or a program in it, is not as one would wish."""

from __future__ import annotations

from ksproxyd.kube.client import KubeClient
from ksproxyd.model.query import parameter
from ksproxyd.model.status import StatusError, bad_gateway, bad_request, not_found, service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.exit_status import NOT_STARTED, REFUSED, Ended
from ksproxyd.terminal.pods import containers
from ksproxyd.terminal.pods.pod import MISSING, PodFailed


async def container_for(client: KubeClient, exchange: Exchange, namespace: str, pod: str) -> str:
    """The container that a request is about. Raises the 404 or 503 where there is none."""
    try:
        return (await containers.find(client, namespace, pod, parameter(exchange.query, "container") or ""))[1]
    except PodFailed as error:
        if error.code == MISSING:
            raise not_found(str(error)) from None
        raise service_unavailable(str(error), 1) from None


def exec_failed(result: Ended, container: str, program: str) -> StatusError:
    """The answer for a program that did not run to its end."""
    if result.kind == REFUSED and result.code == 404:
        return not_found(f"container {container} is not there any more")
    if result.kind in (NOT_STARTED, REFUSED) and result.code in (400, 500):
        return bad_request(
            f"container {container} cannot run {program}: it is not running, or has no such program; "
            "files go in and out with the container's own"
        )
    return bad_gateway(f"the connection to container {container} broke before {program} was done")
