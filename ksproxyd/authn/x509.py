"""Client certificates as identities, as kube-apiserver reads them: common name is the user, organisations are groups.

That a certificate is from the listener's authority and in its time was checked by the TLS handshake.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from ksproxyd.authn.rejection import INVALID, Rejected
from ksproxyd.model.identity import Identity

AUTHENTICATED = "system:authenticated"


@lru_cache(1024)
def certificate_identity(der: bytes) -> Identity:
    """The identity in a verified client certificate (DER). Raises :class:`Rejected` for one that names nobody."""
    try:
        subject = x509.load_der_x509_certificate(der).subject
        names = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    except ValueError as error:
        raise Rejected(INVALID, "the client certificate cannot be read", token=False) from error
    if len(names) != 1 or not names[0]:
        raise Rejected(INVALID, "the client certificate needs one common name, which is the user's", token=False)
    return Identity(names[0], (*dict.fromkeys(groups), AUTHENTICATED))
