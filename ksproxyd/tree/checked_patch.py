"""A patch of which it is known beforehand what it makes of an object.

Nobody but the server knows that, so it is asked, with a dry run. The patch is bound to the version of the object that
it was tried on: it does what was looked at, or nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ksproxyd.kube.errors import KubeError
from ksproxyd.model.status import StatusError
from ksproxyd.state.store import Object
from ksproxyd.tree.pinned import APPLY, is_pinned, modified, pinned, version_of

#: So often a patch is tried on a version that turns out to be the last but one.
ATTEMPTS = 3


async def checked_patch(
    media: bytes,
    value: Any,
    what: str,
    *,
    current: Callable[[], Awaitable[Object | None]],
    try_out: Callable[[Any], Awaitable[Object]],
    begin: Callable[[Object], object],
    look: Callable[[Object, Object | None], Awaitable[None]],
) -> Any:
    """The patch ``value`` of the type ``media``, to be sent as it is returned.

    ``current`` reads the object (None: there is none), ``try_out`` sends a patch as a dry run, ``begin`` prepares an
    apply patch that will create the object, and ``look`` is called with what becomes of it, and what it was. Raises
    :class:`StatusError`: whatever these raise, 404 where there is nothing to be patched, 409 where the object changes
    all the time. ``what`` is what messages call the object.
    """
    own = is_pinned(media, value)
    for _ in range(ATTEMPTS):
        old = await current()
        if old is not None:
            patch = pinned(media, value, version_of(old), what)
        elif media == APPLY and isinstance(value, dict):
            patch = value
            begin(patch)
        else:
            raise StatusError(404, "NotFound", f"{what} not found")
        try:
            new = await try_out(patch)
        except KubeError as error:
            if error.code in (409, 422) and not own and _version(await current()) != _version(old):
                continue
            raise refusal(error) from error
        await look(new, old)
        return patch
    raise modified(what)


def _version(value: Object | None) -> str:
    return "" if value is None else version_of(value)


def refusal(error: KubeError) -> StatusError:
    """What the server said no with, as our answer."""
    details = error.status_object.get("details")
    return StatusError(error.code, error.reason, error.message, details if isinstance(details, dict) else None)
