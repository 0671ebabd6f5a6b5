"""Where deliveries go: the project's origin, the webhook's path, and the base URLs of the two APIs."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import NoReverseMatch, reverse

from django_hookflow.checks.messages import error, warning
from django_hookflow.checks.settings import read_text, transport_name
from django_hookflow.conf import GITHUB_PUBLIC_API_URL, QSTASH_PUBLIC_URL, SETTINGS, conf

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_domain(**kwargs: Any) -> list[CheckMessage]:
    """E004, W004, W005: the domain is an origin that deliveries can safely reach."""
    domain = read_text("DJANGO_HOOKFLOW_DOMAIN")
    if not domain or transport_name() == "inline":
        return []
    origin = _split(domain)
    if origin is None:
        return [
            error(
                "E004",
                f"DJANGO_HOOKFLOW_DOMAIN is {domain!r}, which is not an origin (scheme, host and optional port).",
                "Use a form such as https://my-app.com or https://my-app.com:8443.",
            )
        ]
    if origin.path.strip("/") or origin.query or origin.fragment or origin.username is not None:
        return [
            error(
                "E004",
                "DJANGO_HOOKFLOW_DOMAIN contains more than a scheme, host and port.",
                f"Set it to {_origin_of(origin)}. If the app is served under a path, put that path at the start of "
                "DJANGO_HOOKFLOW_WEBHOOK_PATH.",
            )
        ]
    return list(_find_exposure(origin))


def _find_exposure(origin: SplitResult) -> Iterator[CheckMessage]:
    is_here = _is_loopback(origin.hostname or "")
    if origin.scheme == "http" and not settings.DEBUG and not is_here:
        yield warning(
            "W004",
            f"DJANGO_HOOKFLOW_DOMAIN is {_origin_of(origin)}: deliveries are not encrypted.",
            "Use https. The signature protects deliveries from being changed, but not from being read.",
        )
    if is_here and transport_name() == "qstash" and read_text("QSTASH_URL") in ("", QSTASH_PUBLIC_URL):
        yield warning(
            "W005",
            f"DJANGO_HOOKFLOW_DOMAIN is {_origin_of(origin)}, which QStash cannot reach.",
            "For development, use a tunnel, the QStash development server (QSTASH_URL), or DJANGO_HOOKFLOW_TRANSPORT "
            '= "http" and manage.py hookflow_relay.',
        )


def check_api_urls(**kwargs: Any) -> list[CheckMessage]:
    """E007: the base URLs of the two APIs are URLs."""
    return [
        error(
            "E007",
            f"{name} is not a URL with a scheme and host.",
            f"Correct the setting, or remove it to use {public}.",
        )
        for name, public in (
            ("QSTASH_URL", QSTASH_PUBLIC_URL),
            ("DJANGO_HOOKFLOW_GITHUB_API_URL", GITHUB_PUBLIC_API_URL),
        )
        if read_text(name) and _split(read_text(name)) is None
    ]


def check_environment(**kwargs: Any) -> list[CheckMessage]:
    """W008: a base URL that stands in the environment stands in the settings as well, from which it is read."""
    found = os.environ.get("QSTASH_URL", "").strip()
    if not found or hasattr(settings, "QSTASH_URL") or transport_name() != "qstash":
        return []
    return [
        warning(
            "W008",
            f"QSTASH_URL is set in the environment but not in the settings, so messages go to {QSTASH_PUBLIC_URL}.",
            'Add QSTASH_URL = os.environ["QSTASH_URL"] to the settings, or unset the environment variable.',
        )
    ]


def check_webhook_path(**kwargs: Any) -> list[CheckMessage]:
    """W003: deliveries are sent to where the webhook is."""
    if transport_name() == "inline" or not isinstance(SETTINGS["DJANGO_HOOKFLOW_WEBHOOK_PATH"].read(), str):
        return []
    path = conf.webhook_path
    mounted = _find_mount()
    if mounted is None:
        return [
            warning(
                "W003",
                "django_hookflow.urls is not included in ROOT_URLCONF, so deliveries cannot reach the webhook.",
                f'Add path("{path.lstrip("/")}", include("django_hookflow.urls")) to urlpatterns in ROOT_URLCONF.',
            )
        ]
    # A server may mount the whole project under a prefix (SCRIPT_NAME) that is not known here.
    if path.endswith(mounted):
        return []
    return [
        warning(
            "W003",
            f"DJANGO_HOOKFLOW_WEBHOOK_PATH is {path}, but django_hookflow.urls is mounted at {mounted}.",
            f'Set DJANGO_HOOKFLOW_WEBHOOK_PATH = "{mounted}", unless a proxy in front of the app rewrites the path.',
        )
    ]


def _find_mount() -> str | None:
    """The path under which this project has django_hookflow.urls; None if it has not."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return None
    try:
        return reverse("django_hookflow:workflow", args=["x"]).removesuffix("workflow/x/")
    except NoReverseMatch:
        return None


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https URL; None if it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


def _origin_of(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
