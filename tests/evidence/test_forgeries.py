"""Checkpoints that were changed, signed with another key or with none; and keys with which none can be signed."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.core.management import CommandError

from django_hookflow.evidence.signing import ISSUER, SHORTEST_SECRET
from tests.evidence.checkpointing import (
    LAST,
    SECRET,
    checkpoint,
    claims_of,
    lines_of,
    prove,
    without_cryptography,
    write_lines,
)
from tests.evidence.exporting import export, run_audit

if TYPE_CHECKING:
    from uuid import UUID

    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


# Files that were tampered with.


def drop_a_run(lines: list[Any]) -> list[Any]:
    return [*lines[:2], *lines[3:]]


def swap_runs(lines: list[Any]) -> list[Any]:
    return [lines[0], lines[2], lines[1], lines[3]]


def change_a_hash(lines: list[Any]) -> list[Any]:
    return [*lines[:2], [*lines[2][:3], "00" * 32, None], lines[3]]


def move_a_byte(lines: list[Any]) -> list[Any]:
    """To the other of two that are hashed next to each other."""
    return [*lines[:2], [*lines[2][:3], lines[2][3][:-2], lines[2][3][-2:]], lines[3]]


def cut_short(lines: list[Any]) -> list[Any]:
    return lines[:-1]


def add_a_run(lines: list[Any]) -> list[Any]:
    return [*lines, ["ffffffff-0000-7000-8000-000000000000", "ghost", 1, "00" * 32, None]]


FILES = {
    drop_a_run: "its 2 lines do not match the 3 signed runs",
    swap_runs: "line 3 is out of order",
    change_a_hash: "its 3 lines do not match the 3 signed runs",
    move_a_byte: "line 3 is not a run",
    cut_short: "its 2 lines do not match the 3 signed runs",
    add_a_run: "its 4 lines do not match the 3 signed runs",
    (lambda lines: [{"format": "other", "token": "x"}]): "has the format 'other', known is",
    (lambda lines: lines[1:]): "is not a checkpoint",
    (lambda lines: [*lines, 1]): "line 5 is not a run",
    (lambda lines: []): "is not a checkpoint",
}


@pytest.mark.parametrize("edit", FILES)
def test_a_file_that_was_changed_is_refused(edit: Any, uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    write_lines(path, edit(lines_of(path)))
    status, (problem,) = prove(path)
    assert (status, problem.startswith(f"checkpoint {path}: "), FILES[edit] in problem) == (1, True, True), problem
    assert run_audit("--checkpoint", path, export(tmp_path / "events.jsonl"))[0] == 1


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"", key: bytes = b"") -> str:
    """A token put together by hand, as no library would."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    body = b".".join(parts)
    signature = hmac.new(key, body, "sha256").digest() if key else signature
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def with_token(path: Path, token: str) -> Path:
    header, *runs = lines_of(path)
    write_lines(path, [{**header, "token": token}, *runs])
    return path


@pytest.mark.parametrize(
    "forge",
    [
        lambda token, claims: jwt.encode(claims, "another-secret" + "0" * 40, algorithm="HS256"),
        lambda token, claims: unsigned({"alg": "none", "typ": "JWT"}, claims),
        lambda token, claims: unsigned({"alg": "None"}, claims),
        lambda token, claims: jwt.encode(claims, SECRET, algorithm="HS512"),
        lambda token, claims: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        lambda token, claims: jwt.encode({**claims, "iss": "another"}, SECRET, algorithm="HS256"),
        lambda token, claims: jwt.encode({"iss": ISSUER, "iat": 1}, SECRET, algorithm="HS256"),
        lambda token, claims: "",
        lambda token, claims: "not.a.token",
    ],
    ids=[
        "other key",
        "alg none",
        "alg None",
        "other algorithm",
        "altered",
        "other issuer",
        "no claims",
        "empty",
        "none",
    ],
)
def test_a_token_that_was_not_signed_here_is_refused(forge: Any, uids: list[UUID], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    checkpoint(path)
    with_token(path, forge(lines_of(path)[0]["token"], claims_of(path)))
    status, (problem,) = prove(path)
    assert (
        status,
        "signature could not be verified" in problem or "its token is not a checkpoint token" in problem,
    ) == (
        1,
        True,
    )


# Keys.


def pem_of(private: Any) -> tuple[str, str]:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


KEYS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def use(settings: Settings, algorithm: str, private: str | None, public: str | None) -> None:
    settings.DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM = algorithm
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = private
    settings.DJANGO_HOOKFLOW_CHECKPOINT_PUBLIC_KEY = public


@pytest.mark.parametrize("algorithm", KEYS)
def test_with_a_pair_of_keys_whoever_verifies_cannot_sign(
    algorithm: str, uids: list[UUID], tmp_path: Path, settings: Settings
) -> None:
    private, public = pem_of(KEYS[algorithm])
    path = tmp_path / "one.jsonl"
    use(settings, algorithm, private, None)
    checkpoint(path)
    with pytest.raises(CommandError, match="DJANGO_HOOKFLOW_CHECKPOINT_PUBLIC_KEY is not configured"):
        prove(path)
    use(settings, algorithm, None, public)
    assert prove(path) == (0, [])
    with pytest.raises(CommandError, match="DJANGO_HOOKFLOW_CHECKPOINT_KEY is not configured: .* a private key for"):
        checkpoint(tmp_path / "two.jsonl")
    # The public key as the secret of another algorithm: what a library that believes the token would fall for.
    with_token(path, unsigned({"alg": "HS256", "typ": "JWT"}, claims_of(path), key=public.encode()))
    status, (problem,) = prove(path)
    assert (status, "signature could not be verified" in problem) == (1, True)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_key_of_the_wrong_kind_is_reported_and_not_shown(
    algorithm: str, uids: list[UUID], tmp_path: Path, settings: Settings
) -> None:
    private, public = pem_of(KEYS[algorithm])
    other_private, other_public = pem_of(KEYS["ES256" if algorithm != "ES256" else "RS256"])
    for wrong in ("not PEM at all", other_private, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"):
        use(settings, algorithm, wrong, public)
        with pytest.raises(CommandError, match=f"CHECKPOINT_KEY is not a private key for {algorithm}") as raised:
            checkpoint(tmp_path / "one.jsonl")
        assert wrong not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    use(settings, algorithm, private, public)
    checkpoint(tmp_path / "one.jsonl")
    for wrong in ("not PEM at all", other_public):
        use(settings, algorithm, private, wrong)
        with pytest.raises(CommandError, match=f"CHECKPOINT_PUBLIC_KEY is not a public key for {algorithm}"):
            prove(tmp_path / "one.jsonl")


def test_keys_that_cannot_be_used_are_reported_before_any_work(
    uids: list[UUID], tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "one.jsonl"
    use(settings, "HS256", None, None)
    with pytest.raises(CommandError, match="DJANGO_HOOKFLOW_CHECKPOINT_KEY is not configured: .*at least 32 bytes"):
        checkpoint(path)
    use(settings, "HS256", "x" * (SHORTEST_SECRET - 1), None)
    with pytest.raises(
        CommandError, match="DJANGO_HOOKFLOW_CHECKPOINT_KEY has 31 bytes: use a random secret of at least 32"
    ):
        checkpoint(path)
    use(settings, "none", SECRET, None)
    with pytest.raises(CommandError, match="is 'none': known are HS256, RS256, ES256, EdDSA"):
        checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_without_cryptography_hs256_works_and_the_others_say_what_is_missing(
    uids: list[UUID], tmp_path: Path, process_environment: dict[str, str]
) -> None:
    environment = {**process_environment, "PYTHONPATH": str(Path.cwd())}
    path = str(tmp_path / "one.jsonl")
    said = (
        "DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM is 'RS256', but the package cryptography is not installed: run pip "
        'install "django-hookflow[cryptography]", or use HS256'
    )
    refused = without_cryptography(environment, "hookflow_checkpoint", "RS256", "--output", path)
    assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr
    made = without_cryptography(environment, "hookflow_checkpoint", "HS256", "--output", path)
    assert made.returncode == 0, made.stderr
    proved = without_cryptography(environment, "hookflow_verify", "HS256", "--checkpoint", path)
    assert (proved.returncode, LAST in proved.stdout) == (0, True), proved.stderr
    checked = without_cryptography(environment, "check", "EdDSA")
    assert (checked.returncode, "(django_hookflow.E008)" in checked.stderr) == (1, True), checked.stderr
