"""The settings of this package, typed, each read from Django's settings at the moment it is asked for.

:data:`SETTINGS` is the one list: system checks, ``manage.py hookflow_settings`` and the README's table follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings

QSTASH_PUBLIC_URL = "https://qstash.upstash.io"


@dataclass(frozen=True)
class Setting:
    """One setting: ``kind`` is what its value must be, ``required`` whether the qstash transport cannot go without."""

    name: str
    default: Any
    kind: type | tuple[type, ...]
    meaning: str
    required: bool = False
    secret: bool = False

    def read(self) -> Any:
        return getattr(django_settings, self.name, self.default)


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("QSTASH_TOKEN", None, str, "bearer token of the QStash API", required=True, secret=True),
        Setting("QSTASH_URL", QSTASH_PUBLIC_URL, str, "base URL of the QStash API"),
        Setting(
            "QSTASH_CURRENT_SIGNING_KEY", None, str, "verifies the signature of deliveries", required=True, secret=True
        ),
        Setting(
            "QSTASH_NEXT_SIGNING_KEY",
            None,
            str,
            "the key that follows when QStash rotates keys",
            required=True,
            secret=True,
        ),
        Setting("DJANGO_HOOKFLOW_DOMAIN", None, str, "public origin at which deliveries reach the app", required=True),
        Setting("DJANGO_HOOKFLOW_WEBHOOK_PATH", "/hookflow/", str, "where django_hookflow.urls is mounted"),
        Setting("DJANGO_HOOKFLOW_PERSISTENCE_ENABLED", True, bool, "keep the event log; the only mode there is so far"),
        Setting("DJANGO_HOOKFLOW_TRANSPORT", "qstash", str, "how messages are sent: qstash, http or inline"),
        Setting("DJANGO_HOOKFLOW_TURN_BUDGET", 10, (int, float), "seconds a turn goes on starting further steps"),
        Setting("DJANGO_HOOKFLOW_STEPS_PER_TURN", None, int, "at most so many new steps a turn"),
        Setting(
            "DJANGO_HOOKFLOW_LEASE_SECONDS", 60, (int, float), "how long a turn may be silent before it is taken over"
        ),
        Setting(
            "DJANGO_HOOKFLOW_OVERDUE_SECONDS",
            300,
            (int, float),
            "how long after it was due an announced turn is announced again",
        ),
        Setting("DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS", 60, (int, float), "leeway for the times in a signature"),
        Setting(
            "DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE",
            1024 * 1024,
            int,
            "bytes a webhook body, trigger data or one recorded result may have",
        ),
        Setting("GITHUB_PERSONAL_ACCESS_TOKEN", None, str, "token that dispatches GitHub Actions", secret=True),
        Setting("GITHUB_DEFAULT_REPO", None, str, "owner/name used when a dispatch names no repository"),
    )
}


class Settings:
    """``conf.turn_budget`` and the like: the short lower-case name of each setting, read through Django's settings."""

    def __getattr__(self, short_name: str) -> Any:
        upper = short_name.upper()
        setting = SETTINGS.get(f"DJANGO_HOOKFLOW_{upper}") or SETTINGS.get(upper)
        if setting is None:
            raise AttributeError(f"django_hookflow has no setting {short_name!r}")
        return setting.read()

    qstash_token: str | None
    qstash_url: str
    qstash_current_signing_key: str | None
    qstash_next_signing_key: str | None
    domain: str | None
    webhook_path: str
    persistence_enabled: bool
    transport: str
    turn_budget: float
    steps_per_turn: int | None
    lease_seconds: float
    overdue_seconds: float
    clock_skew_seconds: float
    max_payload_size: int
    github_personal_access_token: str | None
    github_default_repo: str | None


conf = Settings()
