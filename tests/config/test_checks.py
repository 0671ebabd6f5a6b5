"""System checks of the settings, as Django runs them."""

from __future__ import annotations

import types
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connections, router
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path

if TYPE_CHECKING:
    from django.db.models import Model
    from pytest_django import Settings

GOOD: dict[str, Any] = {
    "QSTASH_TOKEN": "token",
    "QSTASH_URL": "https://qstash.upstash.io",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
    "QSTASH_NEXT_SIGNING_KEY": "any form will do",
    "DJANGO_HOOKFLOW_DOMAIN": "https://my-app.com",
    "DJANGO_HOOKFLOW_TRANSPORT": "qstash",
    "DJANGO_HOOKFLOW_ARCHIVE_DIR": "/srv/archives",
}


@pytest.fixture(autouse=True)
def good_settings(settings: Settings) -> None:
    for name, value in GOOD.items():
        setattr(settings, name, value)


def find(*, deploy: bool = False, **changed: Any) -> list[CheckMessage]:
    with override_settings(**changed):
        return run_checks(tags=["django_hookflow"], include_deployment_checks=deploy)


def find_ids(**changed: Any) -> list[str]:
    return sorted(str(message.id).removeprefix("django_hookflow.") for message in find(**changed))


def find_one(**changed: Any) -> tuple[str, str, str]:
    (message,) = find(**changed)
    return str(message.id).removeprefix("django_hookflow."), message.msg, message.hint or ""


def test_a_good_set_up_has_nothing_to_say() -> None:
    assert find(deploy=True) == []


def test_every_finding_has_an_id_a_problem_and_a_way_out() -> None:
    found = find(
        deploy=True,
        QSTASH_TOKEN=None,
        QSTASH_URL="upstash",
        DJANGO_HOOKFLOW_DOMAIN="my-app.com",
        DJANGO_HOOKFLOW_TURN_BUDGET="1",
        DJANGO_HOOKFLOW_WEBHOOK_PATH="/elsewhere/",
        DJANGO_HOOKFLOW_DOMIAN="x",
    )

    assert len({message.id for message in found}) == len(found) == 7
    assert all(str(message.id).startswith("django_hookflow.") and message.msg and message.hint for message in found)


@pytest.mark.parametrize(
    ("transport", "missing"),
    [
        (
            "qstash",
            {"QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "DJANGO_HOOKFLOW_DOMAIN"},
        ),
        ("http", {"QSTASH_CURRENT_SIGNING_KEY", "DJANGO_HOOKFLOW_DOMAIN"}),
        ("inline", set()),
    ],
)
@pytest.mark.parametrize("absent", [None, ""])
def test_what_a_transport_needs_is_a_warning_and_an_error_for_deployment(
    transport: str, missing: set[str], absent: str | None
) -> None:
    nothing: dict[str, Any] = {name: absent for name in GOOD if name.startswith("QSTASH_") or name.endswith("DOMAIN")}
    nothing["DJANGO_HOOKFLOW_TRANSPORT"] = transport
    if absent is None:
        del nothing["QSTASH_URL"]

    warnings = find(**nothing)
    errors = [message for message in find(deploy=True, **nothing) if message.is_serious()]

    assert {message.msg.removesuffix(" is not configured.") for message in warnings} == missing
    assert {message.id for message in warnings} <= {"django_hookflow.W001"}
    assert not any(message.is_serious() for message in warnings)
    assert [message.id for message in errors] == (["django_hookflow.E010"] if missing else [])
    assert all(name in errors[0].msg for name in missing)


def test_missing_keys_do_not_stop_a_command_and_do_stop_a_deployment() -> None:
    with override_settings(QSTASH_TOKEN=None):
        call_command("check", stderr=StringIO())
        with pytest.raises(CommandError, match="QSTASH_TOKEN not configured"):
            call_command("check", deploy=True, stderr=StringIO())


def test_a_key_of_the_wrong_type_is_an_error_that_does_not_show_it() -> None:
    number, problem, way_out = find_one(QSTASH_TOKEN=b"very-secret")

    assert (number, problem) == ("E001", "QSTASH_TOKEN is of type bytes.")
    assert way_out == "Set it to a string, or None."


def test_a_number_out_of_range_is_an_error() -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_LEASE_SECONDS=-5)

    assert (number, problem) == ("E001", "DJANGO_HOOKFLOW_LEASE_SECONDS is -5.")
    assert way_out == "Set it to a number greater than 0."


def test_a_text_with_a_line_break_at_its_end_is_a_warning() -> None:
    number, problem, _ = find_one(QSTASH_TOKEN="token\n")

    assert (number, problem) == ("W006", "QSTASH_TOKEN starts or ends with whitespace.")


def test_an_unknown_transport_names_the_nearest() -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_TRANSPORT="qtsash")

    assert number == "E002"
    assert "'qtsash'" in problem
    assert way_out == "Did you mean qstash?"


def test_a_transport_like_none_names_all() -> None:
    assert find_one(DJANGO_HOOKFLOW_TRANSPORT="carrier-pigeon")[2] == "Known settings: qstash, http, inline."


@pytest.mark.parametrize("transport", ["http", "inline"])
def test_the_stateless_mode_has_one_transport(transport: str) -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=False, DJANGO_HOOKFLOW_TRANSPORT=transport)

    assert number == "E003"
    assert (
        problem == f"The {transport} transport needs the event log, but DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False."
    )
    assert way_out == (
        "Set DJANGO_HOOKFLOW_TRANSPORT to qstash, or set it to True, use a PostgreSQL database, and run manage.py migrate."
    )


def test_the_stateless_mode_is_fine_with_qstash() -> None:
    assert find(deploy=True, DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=False, DJANGO_HOOKFLOW_ARCHIVE_DIR=None) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DJANGO_HOOKFLOW_DOMIAN", "DJANGO_HOOKFLOW_DOMAIN"),
        ("DJANGO_HOOKFLOW_STEP_PER_TURN", "DJANGO_HOOKFLOW_STEPS_PER_TURN"),
        ("DJANGO_HOOKFLOW_QSTASH_TOKEN", "QSTASH_TOKEN"),
        ("DJANGO_HOOKFLOW_GITHUB_DEFAULT_REPO", "GITHUB_DEFAULT_REPO"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_real_one(written: str, meant: str) -> None:
    number, problem, way_out = find_one(**{written: 1})

    assert number == "W002"
    assert problem == f"{written} is not a django-hookflow setting and has no effect."
    assert way_out == f"Did you mean {meant}?"


@pytest.mark.parametrize(
    "domain",
    [
        "my-app.com",
        "//my-app.com",
        "https://",
        "ftp://my-app.com",
        "https://my-app.com:port",
        "my-app.com:443",
        "https://[x",
    ],
)
def test_a_domain_that_is_no_origin_is_an_error(domain: str) -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_DOMAIN=domain)

    assert number == "E004"
    assert problem.startswith("DJANGO_HOOKFLOW_DOMAIN")
    assert "https://my-app.com" in way_out


@pytest.mark.parametrize(
    "domain", ["https://my-app.com/app", "https://my-app.com?x=1", "https://my-app.com/#a", "https://me:pw@my-app.com"]
)
def test_a_domain_with_more_than_an_origin_is_an_error(domain: str) -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_DOMAIN=domain)

    assert (number, problem) == ("E004", "DJANGO_HOOKFLOW_DOMAIN contains more than a scheme, host and port.")
    assert "Set it to https://my-app.com and" in way_out


@pytest.mark.parametrize(
    "domain", ["https://my-app.com", "https://my-app.com/", "https://my-app.com:8443", "https://[2001:db8::1]"]
)
def test_an_origin_is_fine(domain: str) -> None:
    assert find(DJANGO_HOOKFLOW_DOMAIN=domain) == []


def test_plain_http_is_a_warning_unless_it_is_for_development() -> None:
    assert find_ids(DJANGO_HOOKFLOW_DOMAIN="http://my-app.com") == ["W004"]
    assert find_ids(DJANGO_HOOKFLOW_DOMAIN="http://my-app.com", DEBUG=True) == []
    assert find_ids(DJANGO_HOOKFLOW_DOMAIN="http://127.0.0.1:8000", DJANGO_HOOKFLOW_TRANSPORT="http") == []


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "shop.localhost"])
def test_qstash_cannot_reach_this_machine_but_its_development_server_can(host: str) -> None:
    assert find_ids(DJANGO_HOOKFLOW_DOMAIN=f"http://{host}") == ["W005"]
    assert find_ids(DJANGO_HOOKFLOW_DOMAIN=f"http://{host}", QSTASH_URL="http://127.0.0.1:8080") == []


@pytest.mark.parametrize("name", ["QSTASH_URL", "DJANGO_HOOKFLOW_GITHUB_API_URL"])
def test_a_base_url_without_a_scheme_is_an_error(name: str) -> None:
    number, problem, way_out = find_one(**{name: "api.example.com"})

    assert (number, problem) == ("E007", f"{name} is not a URL with a scheme and host.")
    assert way_out.startswith("Correct the setting, or remove it to use https://")


def test_a_webhook_path_other_than_the_mount_is_a_warning_that_names_both() -> None:
    number, problem, way_out = find_one(DJANGO_HOOKFLOW_WEBHOOK_PATH="/hooks/")

    assert number == "W003"
    assert problem == "DJANGO_HOOKFLOW_WEBHOOK_PATH is /hooks/, but django_hookflow.urls is mounted at /hookflow/."
    assert 'DJANGO_HOOKFLOW_WEBHOOK_PATH = "/hookflow/"' in way_out


def test_a_prefix_that_the_server_takes_off_is_fine() -> None:
    assert find(DJANGO_HOOKFLOW_WEBHOOK_PATH="/shop/hookflow/") == []


def test_a_missing_slash_makes_no_difference() -> None:
    assert find(DJANGO_HOOKFLOW_WEBHOOK_PATH="hookflow") == []


def test_the_webhook_at_the_root_is_fine() -> None:
    class Urls(types.ModuleType):
        urlpatterns = [path("", include("django_hookflow.urls"))]

    assert find(ROOT_URLCONF=Urls("urls"), DJANGO_HOOKFLOW_WEBHOOK_PATH="/") == []


def test_a_project_without_the_webhook_is_told_the_line_to_add() -> None:
    class Urls(types.ModuleType):
        urlpatterns = [path("hello/", lambda request: HttpResponse())]

    for urlconf in (Urls("urls"), None):
        number, _, way_out = find_one(ROOT_URLCONF=urlconf)
        assert number == "W003"
        assert 'path("hookflow/", include("django_hookflow.urls"))' in way_out


def test_the_inline_transport_needs_no_webhook() -> None:
    assert find(DJANGO_HOOKFLOW_TRANSPORT="inline", ROOT_URLCONF=None, DJANGO_HOOKFLOW_DOMAIN="nonsense") == []


def test_naive_datetimes_are_refused() -> None:
    number, problem, way_out = find_one(USE_TZ=False)

    assert (number, problem.partition(":")[0]) == ("E009", "USE_TZ is False")
    assert "Set USE_TZ = True" in way_out


def test_a_database_that_commits_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "AUTOCOMMIT", False)

    number, problem, _ = find_one()

    assert (number, problem) == (
        "E011",
        "The database 'default' has AUTOCOMMIT set to False, so nothing in the log would be committed.",
    )


class LogElsewhere:
    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return "elsewhere" if model._meta.app_label == "django_hookflow" else None


def test_a_log_in_another_database_loses_promises_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings, "elsewhere", connections.settings["default"])
    monkeypatch.setattr(router, "routers", [LogElsewhere()])

    number, problem, way_out = find_one()

    assert number == "W007"
    assert "'elsewhere'" in problem
    assert "step.atomic" in problem
    assert "trigger()" in way_out


def test_checkpoint_keys_that_cannot_be_used_are_an_error_that_does_not_show_them() -> None:
    assert find_one(DJANGO_HOOKFLOW_CHECKPOINT_KEY="too-short") == (
        "E008",
        "DJANGO_HOOKFLOW_CHECKPOINT_KEY has 9 bytes.",
        "Use a random secret of at least 32 bytes for HS256.",
    )
    assert find_one(DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM="HS512") == (
        "E008",
        "DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM is 'HS512'.",
        "Known are HS256, RS256, ES256, EdDSA.",
    )
    assert find_ids(DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM=256) == ["E001"]


def test_a_key_in_pem_ends_with_a_line_break_as_it_should() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    assert find_ids(DJANGO_HOOKFLOW_CHECKPOINT_PUBLIC_KEY=pem) == []


def test_a_base_url_that_only_the_environment_has_is_not_taken_silently(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSTASH_URL", "https://qstash-us-east-1.upstash.io")
    settings.QSTASH_URL = "https://qstash-us-east-1.upstash.io"
    assert find() == []
    del settings.QSTASH_URL
    number, _, way_out = find_one()
    assert number == "W008"
    assert 'QSTASH_URL = os.environ["QSTASH_URL"]' in way_out
    assert find_ids(DJANGO_HOOKFLOW_TRANSPORT="inline") == []
    monkeypatch.setenv("QSTASH_URL", "")
    assert find() == []
