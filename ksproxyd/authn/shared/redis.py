"""The shared store in Redis (5 or newer). What is more than one command is a script, which Redis runs as one."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.crypto import FILETYPE_ASN1
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.redis_link import RedisLink, SignIn
from ksproxyd.authn.shared.redis_protocol import Refused
from ksproxyd.settings import RedisSettings
from ksproxyd.settings.kubesphere import CacheOptions

#: What all our keys begin with.
PREFIX = "ksproxyd:"

#: Keys that one step of a walk over all of them looks at.
_STEP = 500


class Script:
    """A script, which Redis is told once and called by its hash from then on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.hash = hashlib.sha1(text.encode("ascii"), usedforsecurity=False).hexdigest()


_TAKE = Script("local v = redis.call('GET', KEYS[1]) if v then redis.call('DEL', KEYS[1]) end return v")

_REPLACE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
""")

# A counter without an end would lock somebody out for ever; there is none, but if there were one it gets an end here.
_COUNT = Script("""
local n = redis.call('INCR', KEYS[1])
if n == 1 or redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return n
""")

_COUNTED = Script("""
local v = redis.call('GET', KEYS[1])
if not v then return {0, 0} end
return {tonumber(v), redis.call('PTTL', KEYS[1])}
""")

# Sets are sorted by the time at which their members end, in milliseconds of Redis' own clock.
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "

_ADD_MEMBER = Script(
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local ends = '+inf'
if ARGV[2] ~= '' then ends = string.format('%.0f', now + ARGV[2]) end
redis.call('ZADD', KEYS[1], ends, ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last == 'inf' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last))) end
return 1
"""
)

_MEMBERS = Script(_NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')")


class RedisStore:
    """A :class:`ksproxyd.authn.shared.store.SharedStore` in Redis. Connects at the first question."""

    log = Logger()
    common = True

    def __init__(
        self,
        reactor: Any,
        options: CacheOptions,
        settings: RedisSettings,
        timeout: float,
        *,
        endpoint: IStreamClientEndpoint | None = None,
        prefix: str = PREFIX,
    ) -> None:
        sign_in = SignIn(settings.username, options.password.get_secret_value(), options.db)
        where = endpoint or endpoint_of(reactor, options, settings, timeout)
        self._link = RedisLink(reactor, where, sign_in, timeout, f"{options.host}:{options.port}")
        self._prefix = prefix
        self._refused: set[str] = set()

    @property
    def away(self) -> str:
        """Why Redis cannot be asked now, for those who operate it; empty if it can."""
        return self._link.away

    def get(self, key: str) -> Deferred[bytes | None]:
        """See the protocol."""
        return self._ask("GET", self._prefix + key)

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]:
        """See the protocol."""
        return self._ask("SET", self._prefix + key, value, *_lasting(ttl)).addCallback(_nothing)

    def add(self, key: str, value: bytes, ttl: float | None) -> Deferred[bool]:
        """See the protocol."""
        return self._ask("SET", self._prefix + key, value, "NX", *_lasting(ttl)).addCallback(_is_something)

    def take(self, key: str) -> Deferred[bytes | None]:
        """See the protocol."""
        return self._run(_TAKE, key)

    def replace(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> Deferred[bool]:
        """See the protocol."""
        return self._run(_REPLACE, key, expected, value, _milliseconds(ttl)).addCallback(bool)

    def delete(self, *keys: str) -> Deferred[int]:
        """See the protocol."""
        return self._ask("DEL", *(self._prefix + key for key in keys))

    def count(self, key: str, ttl: float) -> Deferred[int]:
        """See the protocol."""
        return self._run(_COUNT, key, _milliseconds(ttl))

    def counted(self, key: str) -> Deferred[tuple[int, float]]:
        """See the protocol."""
        return self._run(_COUNTED, key).addCallback(lambda found: (found[0], max(0, found[1]) / 1000.0))

    def add_member(self, key: str, member: str, ttl: float | None) -> Deferred[None]:
        """See the protocol."""
        return self._run(_ADD_MEMBER, key, member, _milliseconds(ttl)).addCallback(_nothing)

    def remove_member(self, key: str, member: str) -> Deferred[None]:
        """See the protocol."""
        return self._ask("ZREM", self._prefix + key, member).addCallback(_nothing)

    def members(self, key: str) -> Deferred[list[str]]:
        """See the protocol."""
        return self._run(_MEMBERS, key).addCallback(lambda found: [each.decode("utf-8") for each in found])

    def find(self, beginning: str, end: str) -> Deferred[list[str]]:
        """See the protocol."""
        return Deferred.fromCoroutine(self._find(self._prefix + beginning, end))

    def verbatim(self) -> RedisStore:
        """See the protocol. It has this store's connection and ends with it."""
        other = object.__new__(RedisStore)
        other._link, other._prefix, other._refused = self._link, "", self._refused
        return other

    def close(self) -> Deferred[None]:
        """See the protocol."""
        return self._link.close()

    # -- within ------------------------------------------------------------------------------------------------

    def _ask(self, *arguments: str | bytes | int) -> Deferred[Any]:
        return self._link.ask(*arguments).addErrback(self._refusal, arguments[0])

    def _refusal(self, failure: Failure, command: Any) -> None:
        """An answer that is an error is nobody's answer: it goes to the log, and the store counts as away."""
        error = failure.value
        if not isinstance(error, Refused):
            failure.raiseException()
        if error.code not in self._refused:
            # Once for each: it is asked for every request.
            self._refused.add(error.code)
            self.log.error("Redis answers {code} to {command}", code=error.code, command=command)
        raise SharedUnavailable(f"Redis answers {error.code} to {command}")

    def _run(self, script: Script, key: str, *arguments: str | bytes | int) -> Deferred[Any]:
        key = self._prefix + key

        def unknown(failure: Failure) -> Deferred[Any]:
            if not isinstance(failure.value, Refused) or failure.value.code != "NOSCRIPT":
                failure.raiseException()
            return self._link.ask("EVAL", script.text, 1, key, *arguments)

        asked = self._link.ask("EVALSHA", script.hash, 1, key, *arguments)
        return asked.addErrback(unknown).addErrback(self._refusal, "EVALSHA")

    async def _find(self, beginning: str, end: str) -> list[str]:
        pattern = f"{literally(beginning)}*{literally(end)}"
        found: set[bytes] = set()
        cursor = b"0"
        while True:
            cursor, keys = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", _STEP)
            found.update(keys)
            if cursor == b"0":
                break
        names = (key.decode("utf-8", "surrogateescape")[len(self._prefix) :] for key in found)
        # What stands between must not overlap.
        least = len(beginning) - len(self._prefix) + len(end)
        return [name for name in names if len(name) >= least]


def endpoint_of(reactor: Any, options: CacheOptions, settings: RedisSettings, timeout: float) -> IStreamClientEndpoint:
    """Where Redis is. Reads the file of authorities; raises :class:`ValueError` if it holds none."""
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, options.host, options.port, timeout=timeout)
    if not settings.tls:
        return endpoint
    root = None
    if settings.ca_file:
        with open(settings.ca_file, "rb") as file:
            try:
                found = x509.load_pem_x509_certificates(file.read())
            except ValueError:
                raise ValueError(f"ksproxyd.redis.caFile ({settings.ca_file}) holds no certificate in PEM") from None
        ders = [each.public_bytes(Encoding.DER) for each in found]
        root = trustRootFromCertificates([Certificate.load(der, FILETYPE_ASN1) for der in ders])
    return wrapClientTLS(optionsForClientTLS(settings.server_name or options.host, trustRoot=root), endpoint)


def literally(text: str) -> str:
    """``text`` as a pattern of Redis that matches nothing else."""
    return "".join(f"\\{each}" if each in "\\*?[]" else each for each in text)


def _milliseconds(ttl: float | None) -> str:
    return "" if ttl is None else str(max(1, int(ttl * 1000)))


def _lasting(ttl: float | None) -> tuple[str, ...]:
    return () if ttl is None else ("PX", _milliseconds(ttl))


def _nothing(_: object) -> None:
    return None


def _is_something(answer: object) -> bool:
    return answer is not None
