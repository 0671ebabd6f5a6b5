"""The signature, against the published facts, the official SDK (both ways), and everything a forger would try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from qstash import Receiver

from django_hookflow.delivery.signature import InvalidSignature, body_digest, sign, verify
from django_hookflow.exceptions import NotConfigured

if TYPE_CHECKING:
    from pytest_django import Settings

# As in tests/settings.py.
CURRENT, NEXT = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
OTHER = "sig_000000000000000000000000000000"
BODY = b'{"hello": "world"}'
URL = "https://app.example.com/hookflow/workflow/mod.wf/"
BODY_HASH = "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="


def make_claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": "Upstash", "sub": URL, "exp": now + 300, "nbf": 0, "iat": now, "jti": "jwt_1", "body": BODY_HASH}
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def make_token(key: str = CURRENT, **changes: Any) -> str:
    """A token as QStash makes it, with some claims changed or, by ``...``, left out."""
    return make_raw_token({"alg": "HS256", "typ": "JWT"}, make_claims(**changes), key)


def make_raw_token(header: Any, claims: Any, key: str) -> str:
    """Made by hand: PyJWT would refuse to sign half of what is tried here."""
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signature = base64.urlsafe_b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


def assert_refused(token: str, because: str, body: bytes = BODY, url: str = URL) -> None:
    with pytest.raises(InvalidSignature, match=because) as refusal:
        verify(token, body, [url])
    assert CURRENT not in str(refusal.value)
    assert NEXT not in str(refusal.value)


def assert_accepted(token: str, body: bytes = BODY) -> None:
    try:
        verify(token, body, ["https://elsewhere.example.com/", URL])
    except InvalidSignature as refusal:
        pytest.fail(f"a genuine signature was refused: {refusal}")


def test_the_digest_of_the_fixed_vector() -> None:
    assert body_digest(BODY) == BODY_HASH


@pytest.mark.parametrize("body_claim", [BODY_HASH, BODY_HASH.rstrip("=")], ids=["padded", "unpadded"])
@pytest.mark.parametrize("key", [CURRENT, NEXT], ids=["current", "next"])
def test_a_token_as_qstash_makes_it_is_accepted(key: str, body_claim: str) -> None:
    assert_accepted(make_token(key, body=body_claim))


@pytest.mark.parametrize("missing", ["nbf", "iat", "jti"])
def test_claims_that_prove_nothing_may_be_missing(missing: str) -> None:
    assert_accepted(make_token(CURRENT, **{missing: ...}))


@pytest.mark.parametrize("key", [CURRENT, NEXT])
def test_what_we_sign_the_official_receiver_accepts(key: str) -> None:
    receiver = Receiver(CURRENT, NEXT)

    receiver.verify(signature=sign(BODY, URL, key=key), body=BODY.decode(), url=URL)


def test_what_the_official_receiver_accepts_we_accept_and_the_other_way_round() -> None:
    receiver = Receiver(CURRENT, NEXT)
    for token in (make_token(), make_token(NEXT), sign(BODY, URL)):
        receiver.verify(signature=token, body=BODY.decode(), url=URL)
        assert_accepted(token)


@given(st.binary(max_size=2000), st.sampled_from([CURRENT, NEXT]))
def test_what_we_sign_we_accept_whatever_the_bytes(body: bytes, key: str) -> None:
    token = sign(body, URL, key=key)

    assert_accepted(token, body)
    with pytest.raises(InvalidSignature):
        verify(token, body + b" ", [URL])


def test_signed_claims_are_those_of_qstash() -> None:
    claims = jwt.decode(sign(BODY, URL), CURRENT, algorithms=["HS256"], issuer="Upstash")

    assert set(claims) == {"iss", "sub", "exp", "nbf", "iat", "jti", "body"}
    assert claims["exp"] - claims["iat"] == 300
    assert claims["body"] == BODY_HASH


def test_signing_without_a_key_says_which_setting(settings: Settings) -> None:
    settings.QSTASH_CURRENT_SIGNING_KEY = None

    with pytest.raises(NotConfigured, match="QSTASH_CURRENT_SIGNING_KEY is not configured"):
        sign(BODY, URL)


class TestScenario20:
    """Wrong key, next key (above), expired, altered, forged, malformed: each refused, and nothing else is raised."""

    @pytest.mark.parametrize("key", [OTHER, CURRENT[4:], CURRENT + "=", "x" * 32])
    def test_another_key(self, key: str) -> None:
        assert_refused(make_token(key), "it was not made with")

    @pytest.mark.parametrize("unset", [None, ""])
    def test_no_key_configured_refuses_everything(self, settings: Settings, unset: str | None) -> None:
        settings.QSTASH_CURRENT_SIGNING_KEY = settings.QSTASH_NEXT_SIGNING_KEY = unset

        assert_refused(make_token("", sub=URL), "no key to verify it with")
        assert_refused(make_token("None"), "no key to verify it with")

    def test_only_one_key_configured_does_not_admit_an_empty_one(self, settings: Settings) -> None:
        settings.QSTASH_NEXT_SIGNING_KEY = None

        assert_accepted(make_token(CURRENT))
        assert_refused(make_token(""), "it was not made with")
        assert_refused(make_token(NEXT), "it was not made with")

    def test_expired(self) -> None:
        assert_refused(make_token(exp=int(time.time()) - 61), "ExpiredSignature")

    def test_expired_within_the_leeway(self, settings: Settings) -> None:
        token = make_token(exp=int(time.time()) - 30)

        assert_accepted(token)
        settings.DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS = 5
        assert_refused(token, "ExpiredSignature")

    def test_not_yet_valid(self) -> None:
        assert_refused(make_token(nbf=int(time.time()) + 90), "ImmatureSignature")
        assert_accepted(make_token(nbf=int(time.time()) + 30))

    def test_made_later_than_our_slow_clock_says(self) -> None:
        assert_accepted(make_token(iat=int(time.time()) + 300, exp=int(time.time()) + 600))

    def test_altered_body(self) -> None:
        assert_refused(make_token(), "different body", body=BODY + b"\n")

    @pytest.mark.parametrize(
        "url",
        [URL.rstrip("/"), URL.replace("https", "http"), URL.replace(".com", ".com:443"), URL + "?x=1", URL.upper(), ""],
    )
    def test_altered_url(self, url: str) -> None:
        assert_refused(make_token(), "it was made for", url=url)

    def test_hex_digest(self) -> None:
        assert_refused(make_token(body=hashlib.sha256(BODY).hexdigest()), "different body")

    def test_algorithm_none(self) -> None:
        header, claims, _ = make_raw_token({"alg": "none", "typ": "JWT"}, make_claims(), CURRENT).split(".")
        assert_refused(f"{header}.{claims}.", "InvalidAlgorithm")

    @pytest.mark.parametrize("algorithm", ["HS512", "RS256", "hs256", None, 1, ["HS256"], {}])
    def test_other_algorithms(self, algorithm: Any) -> None:
        assert_refused(make_raw_token({"alg": algorithm, "typ": "JWT"}, make_claims(), CURRENT), "signature refused")

    @pytest.mark.parametrize("missing", ["iss", "sub", "exp", "body"])
    def test_a_missing_claim(self, missing: str) -> None:
        assert_refused(make_token(CURRENT, **{missing: ...}), f'missing the "{missing}" claim')

    def test_no_claims_at_all(self) -> None:
        assert_refused(make_raw_token({"alg": "HS256"}, {}, CURRENT), "MissingRequiredClaim")

    @pytest.mark.parametrize("claims", [[], "text", 1, None])
    def test_claims_that_are_no_object(self, claims: Any) -> None:
        assert_refused(make_raw_token({"alg": "HS256"}, claims, CURRENT), "DecodeError")

    @pytest.mark.parametrize("claim", ["iss", "sub", "exp", "body"])
    @pytest.mark.parametrize(
        "value", [None, True, [], {}, ["x"], -1, 1.5, float("inf"), float("nan"), -(10**400), "\ud800"]
    )
    def test_a_claim_of_the_wrong_type(self, claim: str, value: Any) -> None:
        assert_refused(make_token(CURRENT, **{claim: value}), "signature refused")

    def test_an_expiry_as_text_is_refused(self) -> None:
        assert_refused(make_token(exp=str(int(time.time()) + 300)), "wrong type")

    def test_another_issuer(self) -> None:
        assert_refused(make_token(iss="upstash"), "InvalidIssuer")

    def test_a_binary_body(self) -> None:
        body = bytes(range(256)) * 4
        token = make_token(body=body_digest(body))

        assert_accepted(token, body)
        assert_refused(token, "different body", body=body[:-1])

    def test_ten_megabytes_of_garbage_are_not_even_looked_at(self) -> None:
        started = time.monotonic()

        assert_refused("eyJ" * 3_500_000, "a token of 10500000 characters")
        assert_refused(make_token(), "different body", body=b"\x00" * 10_000_000)
        assert time.monotonic() - started < 1

    def test_a_header_nested_to_the_limit_of_the_parser(self) -> None:
        nested = base64.urlsafe_b64encode(b"[" * 4000).decode().rstrip("=")
        assert_refused(f"{nested}.e30.x", "signature refused")

    @pytest.mark.parametrize(
        "token", ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800", "Bearer x", "e30.e30.e30", "\x00"]
    )
    def test_no_token(self, token: str) -> None:
        assert_refused(token, "signature refused")


@given(st.text())
@example("e30.e30.")
@example("eyJhbGciOiJIUzI1NiJ9.bnVsbA.x")
def test_arbitrary_text_is_refused_and_nothing_else_happens(token: str) -> None:
    with pytest.raises(InvalidSignature):
        verify(token, BODY, [URL])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)


@given(json_values | st.dictionaries(st.sampled_from(["alg", "typ", "crit", "b64", "kid"]), json_values), json_values)
def test_arbitrary_headers_and_claims_under_the_right_key_are_refused_and_nothing_else_happens(
    header: Any, claims: Any
) -> None:
    with pytest.raises(InvalidSignature):
        verify(make_raw_token(header, claims, CURRENT), BODY, [URL])


@given(
    st.dictionaries(st.sampled_from(["iss", "sub", "exp", "nbf", "iat", "jti", "aud", "body"]), json_values, min_size=1)
)
def test_genuine_claims_with_arbitrary_changes_are_judged_without_an_error(changes: dict[str, Any]) -> None:
    token = make_token(**changes)
    try:
        verify(token, BODY, [URL])
    except InvalidSignature:
        return
    accepted = {**make_claims(), **changes}
    assert (accepted["iss"], accepted["sub"], accepted["body"].rstrip("=")) == ("Upstash", URL, BODY_HASH.rstrip("="))
    assert accepted["exp"] > time.time() - 61
