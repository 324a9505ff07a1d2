"""Debian's slapd on loopback: its own folder, its own certificate; ended by the process id that was started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ksproxyd.testing import Authority
from live.process import PATIENCE, free_port

MANAGER, MANAGER_PASSWORD = "cn=manager,dc=ks,dc=test", "manager secret"
PEOPLE = "ou=people,dc=ks,dc=test"

_SCHEMA = Path("/etc/ldap/schema")
_MODULES = Path("/usr/lib/ldap")

_CONFIGURATION = """
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
TLSCACertificateFile {authority}
disallow bind_anon
database mdb
maxsize 16777216
suffix "dc=ks,dc=test"
rootdn "{manager}"
rootpw "{password}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by * none
"""


def _person(name: str, *more: str, password: str = "right") -> str:
    lines = [
        f"dn: cn={name},{PEOPLE}",
        "objectClass: inetOrgPerson",
        f"cn: {name}",
        f"sn: {name}",
        f"userPassword: {password}",
        *more,
    ]
    return "\n".join(lines) + "\n\n"


_ENTRIES = f"""dn: dc=ks,dc=test
objectClass: dcObject
objectClass: organization
o: ks
dc: ks

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

""" + "".join(
    [
        _person("alice", "uid: alice", "mail: alice@ks.test", "employeeType: staff"),
        _person("bob", "uid: Bob", password="päss wörd ☃"),
        _person("guest", "uid: guest", "employeeType: guest"),
        _person("twin one", "uid: twin"),
        _person("twin two", "uid: twin"),
        _person("twin three", "uid: twin"),
        _person("star", "uid: a*)(b"),
    ]
)


class LDAPServer:
    """It listens at ``plain`` (StartTLS, too) and ``tls``; its certificate is for ``names``."""

    def __init__(self, folder: Path, *names: str) -> None:
        if shutil.which("slapd") is None or not _SCHEMA.is_dir():
            pytest.skip("slapd is not installed")
        self.authority = Authority()
        self.plain, self.tls = free_port(), free_port()
        self._folder = folder
        (folder / "data").mkdir()
        issued = self.authority.issue(*(names or ("localhost", "127.0.0.1")))
        certificate, key = issued.write(folder)
        (folder / "ca.crt").write_bytes(self.authority.pem)
        (folder / "slapd.conf").write_text(
            _CONFIGURATION.format(
                schema=_SCHEMA,
                modules=_MODULES,
                folder=folder,
                certificate=certificate,
                key=key,
                authority=folder / "ca.crt",
                manager=MANAGER,
                password=MANAGER_PASSWORD,
            )
        )
        (folder / "entries.ldif").write_text(_ENTRIES)
        added = subprocess.run(
            ["slapadd", "-f", str(folder / "slapd.conf"), "-l", str(folder / "entries.ldif")],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert added.returncode == 0, added.stderr
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        urls = f"ldap://127.0.0.1:{self.plain} ldaps://127.0.0.1:{self.tls}"
        with (self._folder / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["slapd", "-d", "0", "-f", str(self._folder / "slapd.conf"), "-h", urls],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        end = time.monotonic() + PATIENCE
        for port in (self.plain, self.tls):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    said = (self._folder / "slapd.log").read_text()
                    assert time.monotonic() < end and self._process.poll() is None, said
                    time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            self._signal_to(process, signal.SIGCONT)
            self._signal_to(process, signal.SIGTERM)
            process.wait(PATIENCE)

    def pause(self) -> None:
        """It takes connections and says nothing."""
        assert self._process is not None
        self._signal_to(self._process, signal.SIGSTOP)

    def go_on(self) -> None:
        """After :meth:`pause`."""
        assert self._process is not None
        self._signal_to(self._process, signal.SIGCONT)

    @staticmethod
    def _signal_to(process: subprocess.Popen[bytes], number: int) -> None:
        if process.poll() is None:
            os.kill(process.pid, number)
