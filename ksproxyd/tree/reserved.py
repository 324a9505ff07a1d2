"""API groups and versions that the gateway answers itself; no extension may claim them (spec 01, D20)."""

from __future__ import annotations

#: What KubeSphere's core serves (spec 03 and 04), whether or not this gateway has it yet: whoever held one of these
#: would be sent every user's credentials. Other versions of the same groups belong to extensions.
RESERVED = frozenset(
    [
        ("application.kubesphere.io", "v2"),
        ("cluster.kubesphere.io", "v1alpha1"),
        ("config.kubesphere.io", "v1alpha2"),
        ("extensions.kubesphere.io", "v1alpha1"),
        ("gateway.kubesphere.io", "v1alpha2"),
        ("iam.kubesphere.io", "v1beta1"),
        ("kubesphere.io", "v1alpha1"),
        ("operations.kubesphere.io", "v1alpha2"),
        ("package.kubesphere.io", "v1alpha1"),
        ("quota.kubesphere.io", "v1alpha2"),
        ("resources.kubesphere.io", "v1alpha2"),
        ("resources.kubesphere.io", "v1alpha3"),
        ("storage.kubesphere.io", "v1alpha1"),
        ("tenant.kubesphere.io", "v1alpha2"),
        ("tenant.kubesphere.io", "v1alpha3"),
        ("tenant.kubesphere.io", "v1beta1"),
        ("terminal.kubesphere.io", "v1alpha2"),
        ("workloadtemplate.kubesphere.io", "v1alpha1"),
    ]
)


def reserved(group: str, version: str) -> bool:
    """Whether an extension must not claim this group and version."""
    return (group, version) in RESERVED
