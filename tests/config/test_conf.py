"""conf: typed values that follow Django's settings."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_hookflow.conf import SETTINGS, InvalidSetting, Settings, conf
from django_hookflow.exceptions import HookFlowException


def test_values_follow_override_settings_and_go_back_to_the_default() -> None:
    assert conf.lease_seconds == 60
    with override_settings(DJANGO_HOOKFLOW_LEASE_SECONDS=1.5):
        assert conf.lease_seconds == 1.5
    assert conf.lease_seconds == 60


def test_every_setting_has_a_typed_attribute_and_every_attribute_a_setting() -> None:
    named = {name.removeprefix("DJANGO_HOOKFLOW_").lower() for name in SETTINGS}

    assert set(get_type_hints(Settings)) == named
    assert {name for name in named if hasattr(conf, name)} == named


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no setting 'turn_buget'"):
        _ = conf.turn_buget


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.kind == (str,)])
def test_an_empty_text_counts_as_not_set(name: str) -> None:
    with override_settings(**{name: ""}):
        assert getattr(conf, name.removeprefix("DJANGO_HOOKFLOW_").lower()) == SETTINGS[name].default


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.default is None])
def test_none_may_be_written_out_where_it_is_the_default(name: str) -> None:
    with override_settings(**{name: None}):
        assert getattr(conf, name.removeprefix("DJANGO_HOOKFLOW_").lower()) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [("hookflow", "/hookflow/"), ("/a/b", "/a/b/"), ("a/b/", "/a/b/"), ("/", "/"), ("/hookflow/", "/hookflow/")],
)
def test_the_webhook_path_has_a_slash_at_each_end(written: str, read: str) -> None:
    with override_settings(DJANGO_HOOKFLOW_WEBHOOK_PATH=written):
        assert conf.webhook_path == read


def test_the_domain_has_no_slash_at_its_end() -> None:
    with override_settings(DJANGO_HOOKFLOW_DOMAIN="https://my-app.com/"):
        assert conf.domain == "https://my-app.com"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TURN_BUDGET", "10", "is of type str: it must be a number of at least 0"),
        ("TURN_BUDGET", None, "is None: it must be a number of at least 0"),
        ("TURN_BUDGET", True, "is of type bool"),
        ("TURN_BUDGET", float("nan"), "is nan"),
        ("LEASE_SECONDS", 0, "is 0: it must be a number greater than 0"),
        ("OVERDUE_SECONDS", float("inf"), "is inf"),
        ("STEPS_PER_TURN", 0, "is 0: it must be a whole number of at least 1, or None"),
        ("STEPS_PER_TURN", 1.0, "is of type float"),
        ("CLOCK_SKEW_SECONDS", -1, "is -1"),
        ("MAX_PAYLOAD_SIZE", 0, "is 0"),
        ("PERSISTENCE_ENABLED", "False", "is of type str: it must be True or False"),
        ("TRANSPORT", None, "is None: it must be a string"),
        ("DOMAIN", b"https://my-app.com", "is of type bytes: it must be a string, or None"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: Any, said: str) -> None:
    with override_settings(**{f"DJANGO_HOOKFLOW_{name}": value}), pytest.raises(InvalidSetting) as raised:
        getattr(conf, name.lower())

    assert f"DJANGO_HOOKFLOW_{name} {said}" in str(raised.value)
    assert isinstance(raised.value, HookFlowException)
    assert isinstance(raised.value, ImproperlyConfigured)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("turn_budget", 0),
        ("turn_budget", 0.5),
        ("steps_per_turn", None),
        ("steps_per_turn", 1),
        ("clock_skew_seconds", 0),
    ],
)
def test_values_at_the_edge_are_taken(name: str, value: Any) -> None:
    with override_settings(**{f"DJANGO_HOOKFLOW_{name.upper()}": value}):
        assert getattr(conf, name) == value


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    with override_settings(QSTASH_TOKEN=b"very-secret"), pytest.raises(InvalidSetting) as raised:
        _ = conf.qstash_token

    assert "very-secret" not in str(raised.value)
