"""What of a Namespace says whose it is (spec 03, D18 and D19): its workspace, its creator, and that it has been set up.

Controllers act on these: they make the creator its administrator, create and remove its roles. Who changes them moves
the namespace, in effect, out of one workspace and into another, and must be allowed to delete namespaces there and to
create them here.
"""

from __future__ import annotations

from ksproxyd.authz.coverage import missing
from ksproxyd.authz.escalation import Rights
from ksproxyd.authz.rules import ALL
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import GLOBAL, WORKSPACE_LABEL
from ksproxyd.model.status import forbidden
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of, text

#: Who is made the administrator of a namespace when it is set up.
CREATOR = "kubesphere.io/creator"

#: That it has been set up, and that something is to be done when it is deleted.
FINALIZER = "kubesphere.io/cascading-deletion"


def sign(rights: Rights, user: Identity, new: Object) -> bool:
    """Have a namespace that is to be created name ``user`` as its creator; whether that changed it.

    Who may do everything may name whom they like.
    """
    metadata = new.get("metadata")
    if not isinstance(metadata, dict):
        return False
    creator, workspace = text(metadata, "annotations", CREATOR), text(metadata, "labels", WORKSPACE_LABEL)
    if creator == user.name or not (creator or workspace):
        return False
    if creator and may_everything(rights, user):
        return False
    annotations = metadata.get("annotations")
    metadata["annotations"] = {**(annotations if isinstance(annotations, dict) else {}), CREATOR: user.name}
    return True


def check_namespace(rights: Rights, user: Identity, new: Object, old: Object | None) -> None:
    """Raises a 403 where ``user`` may not make ``new`` of ``old`` (of nothing: None), as far as these things go."""
    home = text(new, "metadata", "labels", WORKSPACE_LABEL)
    if old is None:
        if home:
            _need(rights, user, "create", home, new, f"created in the workspace {home!r}")
        if text(new, "metadata", "annotations", CREATOR) not in ("", user.name) and not may_everything(rights, user):
            raise _forbidden(new, f"{CREATOR} names somebody else than who creates it")
        return
    before = text(old, "metadata", "labels", WORKSPACE_LABEL)
    changed = [what for what, differs in _differences(new, old, before != home) if differs]
    if changed:
        what = f"given another {' and '.join(changed)}"
        _need(rights, user, "delete", before, new, what)
        _need(rights, user, "create", home, new, what)


def may_everything(rights: Rights, user: Identity) -> bool:
    """Whether there is nothing that ``user`` may not do."""
    return not missing(ALL, rights.held(user, scope=GLOBAL))


def _differences(new: Object, old: Object, moved: bool) -> list[tuple[str, bool]]:
    creators = [text(each, "metadata", "annotations", CREATOR) for each in (new, old)]
    # Only what is being deleted loses it without having to be set up anew.
    leaving = bool(field(old, "metadata", "deletionTimestamp"))
    set_up = [_has_finalizer(each) for each in (new, old)]
    return [
        ("workspace", moved),
        ("creator", creators[0] != creators[1]),
        (f"finalizer {FINALIZER}", set_up[0] != set_up[1] and not leaving),
    ]


def _has_finalizer(namespace: Object) -> bool:
    finalizers = field(namespace, "metadata", "finalizers")
    return isinstance(finalizers, list) and FINALIZER in finalizers


def _need(rights: Rights, user: Identity, verb: str, workspace: str, namespace: Object, what: str) -> None:
    # What is in no workspace is everybody's who may do so in all of them.
    name = "" if verb == "create" else name_of(namespace)
    if rights.allowed(user, verb, "", "namespaces", name=name, workspace=workspace):
        return
    where = f"in the workspace {workspace!r}" if workspace else "outside of workspaces"
    why = f'it is {what} only by those who may {verb} namespaces {where}, which "{user.name}" may not'
    raise _forbidden(namespace, why)


def _forbidden(namespace: Object, why: str) -> Exception:
    name = name_of(namespace)
    return forbidden(f'namespaces "{name}" is forbidden: {why}', {"name": name, "kind": "namespaces"})
