"""The facts of spec 02, 8, row by row: which test shows each, and those that no other file shows.

A row's tests are named as ``file::test``; :func:`test_every_row_has_its_tests` fails when one is not there any more.
Where the gateway has a choice, it is the one of the column P.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from support_oauth import KUBESPHERE, PASSWORD, World, basic, bearer, refused, user
from support_rights import RightsWorld
from twisted.internet.defer import Deferred, fail

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.turnstile import APART
from ksproxyd.testing import Backend, api_service

TESTS = Path(__file__).parents[1]
HERE = f"wire/{Path(__file__).name}"

_WIRE = {
    "authentication": "wire/test_authentication.py",
    "authorize": "wire/test_authorize_endpoint.py",
    "callback": "wire/test_callback.py",
    "logout": "wire/test_logout_endpoint.py",
    "programs": "wire/test_oauth_programs.py",
    "token": "wire/test_oauth_token.py",
    "users": "wire/test_users_api.py",
    "order": "wire/test_users_in_order.py",
    "proxied": "wire/test_users_proxied.py",
    "rights": "wire/test_users_rights.py",
    "accounts": "wire/test_service_account_tokens.py",
    "bearer": "unit/authn/tokens/test_bearer_tokens.py",
    "sessions": "unit/authn/tokens/test_login_sessions.py",
    "keys": "unit/authn/tokens/test_signing_keys.py",
    "credentials": "unit/authn/test_credentials.py",
    "authenticator": "unit/authn/test_authenticator.py",
    "login": "unit/authn/test_password_login.py",
    "steps": "unit/chain/test_steps.py",
    "redis": "live/test_two_gateways.py",
    "config": "wire/test_published_login_settings.py",
    "register": "wire/test_register_page.py",
    "here": HERE,
}

ROWS: dict[int, str] = {
    1: "here::test_001_002_public_paths",
    2: "here::test_001_002_public_paths authentication::test_a_bad_token_says_what_is_wrong",
    3: "authentication::test_what_nobody_understands_is_told_everywhere",
    4: "authentication::test_what_nobody_understands_is_told_everywhere credentials::test_not_understood",
    5: "here::test_005_spelling_of_the_scheme",
    6: "steps::test_hop_fields here::test_006_007_the_field_of_hops",
    7: "here::test_006_007_the_field_of_hops",
    8: "authentication::test_the_query_proves_nothing",
    9: "order::test_right",
    10: "order::test_right authentication::test_a_password_goes_no_further",
    11: "order::test_wrong authentication::test_a_wrong_password_is_recorded_and_a_right_one_is_not",
    12: "order::test_not_in_use authentication::test_whose_password_is_not_taken_learns_nothing_else",
    13: "here::test_013_basic_that_is_none credentials::test_not_understood",
    14: "authentication::test_a_password_goes_no_further",
    15: "authentication::test_a_token_goes_along_and_whoever_it_claims_to_be_does_not",
    16: "here::test_016_a_refusal_for_curl",
    20: "bearer::test_020_no_algorithm",
    21: "bearer::test_021_another_hash_with_the_right_secret",
    22: "bearer::test_022_the_public_key_as_the_secret",
    23: "bearer::test_023_an_id_token here::test_023_031_032_other_classes_are_no_bearers",
    24: "bearer::test_024_ended",
    25: "bearer::test_025_026_issued_ahead",
    26: "bearer::test_025_026_issued_ahead",
    27: "bearer::test_027_never_issued",
    28: "bearer::test_028_after_logout authentication::test_who_logs_out_is_out",
    29: "bearer::test_029_another_issuer",
    30: "bearer::test_030_for_somebody_else",
    31: "bearer::test_031_032_033_other_classes here::test_023_031_032_other_classes_are_no_bearers",
    32: "bearer::test_031_032_033_other_classes here::test_023_031_032_other_classes_are_no_bearers",
    33: "bearer::test_031_032_033_other_classes",
    34: "authenticator::test_service_accounts_have_no_groups_and_end_with_their_object "
    "bearer::test_034_036_static_tokens_are_good_while_they_are_in_a_secret",
    35: "authenticator::test_service_accounts_have_no_groups_and_end_with_their_object",
    36: "bearer::test_034_036_static_tokens_are_good_while_they_are_in_a_secret",
    37: "authentication::test_a_disabled_user_is_out_at_once",
    38: "here::test_038_a_lock_ends_no_login",
    39: "users::test_who_is_deleted_is_logged_out",
    40: "bearer::test_040_a_member_keeps_nothing_and_believes_any_issuer",
    41: "authenticator::test_a_member_takes_the_hosts_word_for_its_users",
    42: "bearer::test_042_043_damage",
    43: "bearer::test_042_043_damage here::test_043_a_token_of_a_megabyte",
    44: "here::test_044_the_store_is_away redis::test_redis_dies_under_load_and_comes_back",
    45: "sessions::test_045_a_restart_forgets_what_is_in_memory",
    46: "bearer::test_046_no_two_are_the_same",
    47: "bearer::test_047_headers",
    50: "programs::test_t050_discovery",
    51: "programs::test_t051_other_methods",
    52: "programs::test_t052_keys_verify_id_tokens_and_nothing_private_is_there",
    53: "keys::test_fnv keys::test_052_053_published_and_verified_by_others",
    54: "programs::test_t054_userinfo_anonymous",
    55: "programs::test_t055_userinfo",
    56: "programs::test_t056_userinfo_of_a_service_account",
    57: "programs::test_t057_review",
    58: "programs::test_t058_review_of_what_is_not_good",
    59: "programs::test_t059_review_of_nothing",
    60: "programs::test_t060_review_as_a_form",
    61: "config::test_t061_nothing_secret_is_published",
    70: "token::test_t070_password here::test_070_a_login_is_recorded",
    71: "token::test_t071_json_body",
    72: "token::test_t072_parameters_in_the_query",
    73: "token::test_t073_t074_unknown_clients_and_wrong_secrets_are_answered_the_same",
    74: "token::test_t073_t074_unknown_clients_and_wrong_secrets_are_answered_the_same",
    75: "token::test_t075_only_trusted_clients_log_in_with_passwords",
    76: "token::test_t076_unknown_grants token::test_t076_no_grant",
    77: "token::test_t077_to_t081_nothing_is_told_before_the_password_is_right",
    78: "token::test_t077_to_t081_nothing_is_told_before_the_password_is_right "
    "login::test_unknown_users_cost_as_much_as_known_ones login::test_not_for_nobody",
    79: "token::test_t077_to_t081_nothing_is_told_before_the_password_is_right",
    80: "token::test_t080_suspended_is_told_to_who_has_the_password",
    81: "token::test_t077_to_t081_nothing_is_told_before_the_password_is_right",
    82: "token::test_t082_locked",
    83: "token::test_t083_the_fourth_attempt_is_not_looked_at order::test_locked_and_unlocked",
    84: "login::test_parallel_guesses here::test_084_guesses_at_once",
    85: "token::test_t085_a_password_that_is_to_be_changed",
    86: "token::test_t086_unknown_provider",
    87: "here::test_087_a_provider_that_is_switched_off",
    88: "token::test_t088_the_client_in_the_header",
    89: "token::test_t089_refresh_tokens_are_good_once",
    90: "token::test_t090_an_access_token_is_no_refresh_token",
    91: "token::test_t091_refresh_tokens_are_their_clients",
    92: "token::test_t092_refresh_of_somebody_who_was_disabled",
    93: "token::test_t093_a_stale_bearer_header_means_nothing_here",
    94: "token::test_t094_one_login_at_a_time_for_each_client",
    95: "token::test_t095_code_with_openid",
    96: "token::test_t096_code_without_openid",
    97: "token::test_t097_a_code_that_comes_again_ends_what_was_issued_from_it",
    98: "token::test_t098_codes_are_their_clients",
    99: "token::test_t099_t100_codes_are_redeemed_with_the_address_they_were_sent_to",
    100: "token::test_t099_t100_codes_are_redeemed_with_the_address_they_were_sent_to",
    101: "token::test_t101_no_code",
    102: "token::test_t102_pkce",
    103: "token::test_t103_old_codes",
    110: "authorize::test_unknown_client",
    111: "authorize::test_an_address_must_be_exactly_a_registered_one",
    112: "authorize::test_a_client_without_addresses",
    113: "authorize::test_errors_go_back",
    114: "authorize::test_errors_go_back",
    115: "authorize::test_errors_go_back",
    116: "authorize::test_a_denied_client",
    117: "authorize::test_nobody_is_signed_in",
    118: "authorize::test_nobody_is_signed_in",
    119: "authorize::test_consent_is_never_silent",
    120: "authorize::test_consent",
    121: "authorize::test_the_query_that_is_registered_stays authorize::test_a_code",
    122: "authorize::test_the_query_that_is_registered_stays",
    123: "authorize::test_errors_go_back",
    124: "authorize::test_the_implicit_flow",
    125: "authorize::test_a_form_counts_and_not_the_query",
    126: "authorize::test_a_page_asks_with_accept_html_only",
    127: "callback::test_unknown_providers",
    128: "callback::test_without_the_cookie",
    129: "callback::test_id_tokens_that_are_not_good",
    130: "callback::test_nobody_becomes_a_user_who_is_there",
    131: "callback::test_the_console_gets_a_token_to_register_with",
    132: "rights::test_they_make_one_account_without_rights register::test_an_account_is_made "
    "token::test_a_registration_becomes_a_login_when_the_user_is_there",
    133: "logout::test_nobody",
    134: "logout::test_an_address_that_is_not_registered",
    135: "logout::test_the_whole_session_ends",
    136: "logout::test_with_an_expired_token",
    140: "users::test_lists_have_no_hashes",
    141: "proxied::test_lists",
    142: "here::test_142_143_159_who_is_nobody_special",
    143: "here::test_142_143_159_who_is_nobody_special",
    144: "users::test_who_is_not_there_is_told_so",
    145: "users::test_a_new_user_can_log_in_at_once_and_nothing_is_stored_in_clear order::test_kubectl_makes_a_user",
    146: "users::test_what_is_no_new_user",
    147: "users::test_what_is_no_new_user",
    148: "users::test_a_role_that_is_not_there_makes_no_user",
    149: "users::test_put_keeps_the_hash_and_needs_the_version",
    150: "users::test_put_keeps_the_hash_and_needs_the_version",
    151: "here::test_151_an_administrator_lets_somebody_in_again",
    152: "rights::test_but_nothing_that_says_what_they_are",
    153: "rights::test_but_nothing_that_says_what_they_are",
    154: "users::test_put_keeps_the_hash_and_needs_the_version",
    155: "users::test_a_merge_patch_follows_the_same_rules rights::test_but_nothing_that_says_what_they_are",
    156: "users::test_a_new_password_ends_other_sessions users::test_wrong_current_passwords_are_counted",
    157: "users::test_a_new_password_ends_other_sessions",
    158: "users::test_an_administrator_need_not_know_it",
    159: "here::test_142_143_159_who_is_nobody_special",
    160: "order::test_deleted users::test_who_is_deleted_is_logged_out",
    161: "users::test_a_role_is_bound",
    162: "users::test_pages",
    163: "rights::test_login_records_are_the_users_whatever_the_filter_says",
}

#: The spec's own numbers: each group begins anew.
NUMBERS = (
    *range(1, 17),
    *range(20, 48),
    *range(50, 62),
    *range(70, 104),
    *range(110, 137),
    *range(140, 164),
)


@cache
def names(path: str) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_has_its_tests() -> None:
    assert tuple(sorted(ROWS)) == NUMBERS
    missing = []
    for number, said in ROWS.items():
        for each in said.split():
            where, _, name = each.partition("::")
            if not name.startswith("test_") or name not in names(_WIRE[where]):
                missing.append(f"T-{number:03}: {_WIRE[where]}::{name}")
    assert not missing


# -- what no other file shows --------------------------------------------------------------------------------------

ECHO = "/kapis/echo.io/v1/things"
USERS = "/kapis/iam.kubesphere.io/v1beta1/users"


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    found.gateway.serve("http://echo.test", Backend())
    found.gateway.apply(api_service("v1.echo.io", url="http://echo.test"))
    yield found
    found.gateway.close()


def get(world: World, *headers: tuple[bytes, bytes], path: str = ECHO) -> Any:
    return world.gateway.request("GET", path, list(headers))


def who(answer: Any) -> str:
    """Who the backend was told the request is from."""
    assert answer.status == 200, answer.body
    return str({name.lower(): value for name, value in answer.json()["headers"]}["x-remote-user"])


def test_001_002_public_paths(world: World) -> None:
    for path in ("/version", "/healthz", "/livez", "/.well-known/openid-configuration", "/oauth/keys"):
        assert get(world, path=path).status == 200
        answer = get(world, bearer("junk"), path=path)
        assert (answer.status, answer.json()["kind"]) == (401, "Status")
        assert b'error="invalid_token"' in (answer.get("WWW-Authenticate") or b"")


def test_005_spelling_of_the_scheme(world: World) -> None:
    token = world.logged_in()["access_token"].encode()
    assert who(get(world, (b"Authorization", b"bEaReR " + token))) == "alice"
    assert get(world, (b"Authorization", b"Bearer " + token + b" junk")).status == 401


def test_006_007_the_field_of_hops(world: World) -> None:
    """Whose it is counts only from trusted peers and on members; whatever it says otherwise, it goes no further."""
    token = world.logged_in()["access_token"].encode()
    hop = (b"X-KubeSphere-Authorization", b"Bearer " + token)
    answer = get(world, hop)
    assert who(answer) == "system:anonymous"
    assert "x-kubesphere-authorization" not in [name.lower() for name, _ in answer.json()["headers"]]
    assert get(world, bearer("junk"), hop).status == 401


@pytest.mark.parametrize("text", [b"alice:" + PASSWORD.encode() + b"1", b"alice"])
def test_013_basic_that_is_none(world: World, text: bytes) -> None:
    """Without its padding, or without a colon."""
    encoded = base64.b64encode(text).rstrip(b"=")
    assert b":" not in text or len(encoded) % 4
    answer = get(world, (b"Authorization", b"Basic " + encoded))
    assert (answer.status, answer.message()) == (401, "The request cannot be authenticated.")


def test_016_a_refusal_for_curl(world: World) -> None:
    for agent in (b"curl/8.5.0", b"Mozilla/5.0 (X11)", b"Go-http-client/2.0"):
        answer = get(world, bearer("junk"), (b"User-Agent", agent))
        said = msgspec.json.decode(answer.body)
        assert (said["kind"], said["code"], said["reason"]) == ("Status", 401, "Unauthorized")


def test_023_031_032_other_classes_are_no_bearers(world: World) -> None:
    tokens = world.redeem(world.code()).json()
    for token in (tokens["id_token"], tokens["refresh_token"], world.code()):
        assert get(world, bearer(token)).status == 401
    assert who(get(world, bearer(tokens["access_token"]))) == "alice"


def test_038_a_lock_ends_no_login(world: World) -> None:
    token = world.logged_in()["access_token"]
    world.gateway.apply(user("alice", "AuthLimitExceeded"))
    assert world.password().status == 429
    assert who(get(world, bearer(token))) == "alice"


def test_043_a_token_of_a_megabyte(world: World) -> None:
    assert get(world, bearer("a" * 1_000_000)).status in (400, 401, 431)
    assert get(world, bearer("a." * 4000)).status == 401


def test_044_the_store_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was not seen before cannot be believed; one that nobody has revoked here is good as before."""
    first, second = (world.logged_in()["access_token"] for _ in range(2))
    assert get(world, bearer(first)).status == 200

    def away(*arguments: Any) -> Deferred[Any]:
        return fail(SharedUnavailable("connection refused"))

    monkeypatch.setattr(world.logins.store, "get", away)
    answer = get(world, bearer(second))
    assert answer.status == 503 and int(answer.get("Retry-After") or b"0") >= 1
    assert b"refused" not in answer.body


def test_070_a_login_is_recorded(world: World) -> None:
    world.logged_in()
    (record,) = world.records("alice")
    assert [record["spec"][key] for key in ("type", "success")] == ["Token", True]


def test_084_guesses_at_once(world: World) -> None:
    before = world.logins.passwords.compares
    clients = [world.gateway.connect(host="192.0.2.7") for _ in range(50)]
    for number, client in enumerate(clients):
        form = urlencode({"grant_type": "password", "username": "alice", "password": f"wrong {number}", **KUBESPHERE})
        head = "POST /oauth/token HTTP/1.1\r\nHost: g\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        client.write(f"{head}Content-Length: {len(form)}\r\n\r\n{form}".encode())
    # They come at once, and are looked at one after the other.
    for _ in range(200):
        world.gateway.wait(APART)
    statuses = sorted(client.answer("POST").status for client in clients)
    assert statuses == [400] * 3 + [429] * 47
    assert world.logins.passwords.compares - before == 3
    for client in clients:
        client.close()


def provider(name: str, **more: Any) -> Any:
    """The Secret of an LDAP directory."""
    options = {"host": "ldap.test:389", "userSearchBase": "dc=x", "loginAttribute": "uid"}
    written = {"name": name, "type": "LDAPIdentityProvider", "mappingMethod": "auto", "provider": options, **more}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "config.kubesphere.io/identityprovider",
        "metadata": {
            "name": f"identityprovider-{name}",
            "namespace": "kubesphere-system",
            "labels": {"config.kubesphere.io/type": "identityprovider"},
        },
        "data": {"configuration.yaml": base64.b64encode(msgspec.json.encode(written)).decode()},
    }


def test_087_a_provider_that_is_switched_off(world: World) -> None:
    world.gateway.apply(provider("ldap", disabled=True))
    refused(world.password("zoe", "any", provider="ldap"), 400, "invalid_grant")
    # Nobody is locked out by asking it.
    for _ in range(5):
        refused(world.password("zoe", "any", provider="ldap"), 400, "invalid_grant")
    refused(world.password("zoe", "any", provider="nope"), 400, "invalid_request")


def test_142_143_159_who_is_nobody_special() -> None:
    """Somebody with the rights of everybody: their own user is theirs, others are not."""
    world = RightsWorld()
    try:
        assert world.ask("alice", "GET", f"{USERS}/alice").status == 200
        assert world.ask("alice", "GET", f"{USERS}/alice/loginrecords").status == 200
        for method, path, body in (
            ("GET", "/bob", None),
            ("GET", "/bob/loginrecords", None),
            ("PUT", "/bob/password", {"password": "Passw0rdZ"}),
        ):
            answer = world.ask("alice", method, USERS + path, body)
            assert (answer.status, answer.json()["reason"]) == (403, "Forbidden"), (method, path)
    finally:
        world.close()


def test_151_an_administrator_lets_somebody_in_again(world: World) -> None:
    assert world.password("bob").status == 400
    token = world.logged_in("admin")["access_token"]
    value = world.get(f"{USERS}/bob", token).json()
    value["status"] = {"state": "Active"}
    head = [bearer(token), (b"Content-Type", b"application/json")]
    answer = world.gateway.request("PUT", f"{USERS}/bob", head, msgspec.json.encode(value))
    assert answer.status == 200, answer.body
    assert world.password("bob").status == 200
    assert get(world, basic("bob", PASSWORD)).status == 200
