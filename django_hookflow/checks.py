"""System checks: what is wrong with this project's set-up, and the way out.

Run by ``manage.py check`` and before most commands; they read settings and make no network calls.

========  ==========================================================================================================
``E001``  a setting has a value of the wrong type or out of range
``E002``  ``DJANGO_HOOKFLOW_TRANSPORT`` names no transport
``E003``  ``DJANGO_HOOKFLOW_PERSISTENCE_ENABLED`` is False, a mode that does not exist yet
``E004``  ``DJANGO_HOOKFLOW_DOMAIN`` is not an origin: it has no scheme, or a path
``E005``  ``"pgtrigger"`` is missing from ``INSTALLED_APPS``
``E006``  the log's database is not PostgreSQL
``E007``  an API's base URL is not a URL
``E008``  checkpoints can be neither signed nor verified with the algorithm or the key in the settings
``W001``  a setting that the transport cannot go without is missing
``W002``  no such setting: ``DJANGO_HOOKFLOW_…`` misspelt
``W003``  the webhook path is not where ``django_hookflow.urls`` is mounted, or it is mounted nowhere
``W004``  deliveries would travel over plain http
``W005``  the domain is this machine, which QStash cannot reach
``W006``  a text begins or ends with a space or a line break
``W011``  (with ``--deploy``) runs would be cleaned up without an archive
========  ==========================================================================================================

A missing key is a warning, because ``migrate`` in a build that has no keys must go through. ``check --deploy`` says
``E010`` for it: with this the transport cannot work.

With a database at hand (``check --database default``, ``migrate``) the log itself is looked at as well:

========  ==========================================================================================================
``E020``  the server is older than PostgreSQL 14
``E021``  a guard of the event log is missing from a table, or is not always on
``W022``  the partitions of months end soon
``W023``  a partition was left half split
``E024``  tables of a release 0.0.x stand where ours are to be made
========  ==========================================================================================================

With ``--deploy`` as well, what protects the log is told (:mod:`.protection`):

========  ==========================================================================================================
``I030``  which of the layers are on: guards, privileges, hash chain, signed checkpoints, archive
``W030``  this login could change the log, for it is not confined to the functions that write it
========  ==========================================================================================================

``sig_…`` keys are taken as they are: nothing is known about their form.
"""

from __future__ import annotations

import difflib
import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks as django_checks
from django.core.checks import CheckMessage, Tags, register
from django.db import connections
from django.urls import NoReverseMatch, reverse

from django_hookflow import protection
from django_hookflow.conf import GITHUB_PUBLIC_API_URL, QSTASH_PUBLIC_URL, SETTINGS, TRANSPORTS, conf
from django_hookflow.events.database import alias
from django_hookflow.evidence import signing
from django_hookflow.predecessor import check_predecessor
from django_hookflow.retention.checks import check_archive, check_partitions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PREFIX = "DJANGO_HOOKFLOW_"
OLDEST_SERVER = 14

#: pg_trigger.tgtype: what a trigger fires on (PostgreSQL's catalog/pg_trigger.h).
_ROW, _BEFORE, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 8, 16, 32
_REFUSES_CHANGES = _ROW | _BEFORE | _DELETE | _UPDATE
_REFUSES_TRUNCATE = _BEFORE | _TRUNCATE

#: Every table of the log and the guards on it. By what they do and not by name: a release that renames a guard must
#: not be stopped by the check that runs before its own migration.
_GUARDS = """
    SELECT log.relid::regclass::text, coalesce(array_agg(t.tgtype) FILTER (WHERE t.tgenabled = 'A'), '{}')
    FROM (SELECT relid FROM pg_partition_tree(to_regclass('django_hookflow_event'))
          UNION ALL SELECT oid FROM pg_class WHERE oid = to_regclass('django_hookflow_checkpoint')) AS log (relid)
    LEFT JOIN pg_trigger AS t ON t.tgrelid = log.relid AND t.tgqual IS NULL
      AND (SELECT proname ~ '^pgtrigger_(checkpoint_)?guard_' FROM pg_proc WHERE oid = t.tgfoid)
    GROUP BY log.relid ORDER BY 1
"""


def register_checks() -> None:
    """Registers every check of this module. ``apps.ready()`` calls it."""
    for check in (
        check_values,
        check_names,
        check_transport,
        check_required,
        check_domain,
        check_api_urls,
        check_webhook_path,
        check_checkpoint_keys,
        check_installation,
    ):
        register(check, "django_hookflow")
    register(check_required_for_deployment, "django_hookflow", deploy=True)
    register(check_archive, "django_hookflow", deploy=True)
    register(check_database, Tags.database)
    register(check_protection, Tags.database, deploy=True)
    register(check_partitions, Tags.database)
    register(check_predecessor, Tags.database)


def check_values(**kwargs: Any) -> list[CheckMessage]:
    """E001, W006: each value is of its type and in its range; no text was pasted with a line break."""
    found: list[CheckMessage] = []
    for setting in SETTINGS.values():
        value = setting.read()
        fault = setting.find_fault(value)
        if fault:
            found.append(_error("E001", f"{setting.name} {fault}.", f"Set it to {setting.kind_name}."))
        elif isinstance(value, str) and value != value.strip() and not value.startswith("-----BEGIN "):
            found.append(
                _warning(
                    "W006",
                    f"{setting.name} begins or ends with a space or a line break.",
                    "Strip it: such an end usually comes along with a file or a copied text.",
                )
            )
    return found


def check_names(**kwargs: Any) -> list[CheckMessage]:
    """W002: a setting with this package's prefix that this package does not know."""
    return [
        _warning("W002", f"{name} is not a setting of django-hookflow and does nothing.", _suggest(name, SETTINGS))
        for name in sorted(dir(settings))
        if name.startswith(PREFIX) and name not in SETTINGS
    ]


def check_transport(**kwargs: Any) -> list[CheckMessage]:
    """E002, E003: the transport exists, and so does the mode."""
    found: list[CheckMessage] = []
    transport = _read_text("DJANGO_HOOKFLOW_TRANSPORT")
    if transport not in ("", *TRANSPORTS):
        found.append(
            _error(
                "E002",
                f"DJANGO_HOOKFLOW_TRANSPORT is {transport!r}, which is no transport.",
                _suggest(transport, TRANSPORTS),
            )
        )
    if SETTINGS["DJANGO_HOOKFLOW_PERSISTENCE_ENABLED"].read() is False:
        found.append(
            _error(
                "E003",
                "DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False, and the stateless mode it asks for is not available.",
                "Remove the setting or set it to True: runs are kept in the event log.",
            )
        )
    return found


def check_required(**kwargs: Any) -> list[CheckMessage]:
    """W001: what the transport cannot go without is there."""
    from_console = "Copy it from the QStash console."
    own_key = "Set it to any long random text: the relay signs with it, the webhook verifies with it."
    origin = f"Set it to the {SETTINGS['DJANGO_HOOKFLOW_DOMAIN'].meaning}."
    key = from_console if _transport() == "qstash" else own_key
    return [
        _warning("W001", f"{name} is not configured.", origin if name == "DJANGO_HOOKFLOW_DOMAIN" else key)
        for name in _missing_settings()
    ]


def check_required_for_deployment(**kwargs: Any) -> list[CheckMessage]:
    """E010: the same with ``--deploy``, where it is no longer a matter of a build without keys."""
    missing = _missing_settings()
    if not missing:
        return []
    return [
        _error(
            "E010",
            f"The {_transport()} transport cannot work: {', '.join(missing)} not configured.",
            "Set what is missing, or choose another transport with DJANGO_HOOKFLOW_TRANSPORT.",
        )
    ]


def check_domain(**kwargs: Any) -> list[CheckMessage]:
    """E004, W004, W005: the domain is an origin that deliveries can safely reach."""
    domain = _read_text("DJANGO_HOOKFLOW_DOMAIN")
    if not domain or _transport() == "inline":
        return []
    origin = _split(domain)
    if origin is None:
        return [
            _error(
                "E004",
                f"DJANGO_HOOKFLOW_DOMAIN is {domain!r}, which is not an origin.",
                "Give scheme and host, and a port if there is one: https://my-app.com",
            )
        ]
    if origin.path.strip("/") or origin.query or origin.fragment or origin.username is not None:
        return [
            _error(
                "E004",
                "DJANGO_HOOKFLOW_DOMAIN has more than scheme, host and port.",
                f"Set it to {_origin_of(origin)} and put a path in front of DJANGO_HOOKFLOW_WEBHOOK_PATH.",
            )
        ]
    return list(_find_exposure(origin))


def _find_exposure(origin: SplitResult) -> Iterator[CheckMessage]:
    is_here = _is_loopback(origin.hostname or "")
    if origin.scheme == "http" and not settings.DEBUG and not is_here:
        yield _warning(
            "W004",
            f"DJANGO_HOOKFLOW_DOMAIN is {_origin_of(origin)}: deliveries travel unencrypted.",
            "Use https. A signature keeps a delivery from being altered, not from being read.",
        )
    if is_here and _transport() == "qstash" and _read_text("QSTASH_URL") in ("", QSTASH_PUBLIC_URL):
        yield _warning(
            "W005",
            f"DJANGO_HOOKFLOW_DOMAIN is {_origin_of(origin)}, which QStash cannot reach.",
            "For development use a tunnel's address, QStash's development server (QSTASH_URL), or "
            'DJANGO_HOOKFLOW_TRANSPORT = "http" and manage.py hookflow_relay.',
        )


def check_api_urls(**kwargs: Any) -> list[CheckMessage]:
    """E007: the base URLs of the two APIs are URLs."""
    return [
        _error(
            "E007", f"{name} is not a URL with scheme and host.", f"Remove the setting to use {public}, or correct it."
        )
        for name, public in (
            ("QSTASH_URL", QSTASH_PUBLIC_URL),
            ("DJANGO_HOOKFLOW_GITHUB_API_URL", GITHUB_PUBLIC_API_URL),
        )
        if _read_text(name) and _split(_read_text(name)) is None
    ]


def check_webhook_path(**kwargs: Any) -> list[CheckMessage]:
    """W003: deliveries are sent to where the webhook is."""
    if _transport() == "inline" or not isinstance(SETTINGS["DJANGO_HOOKFLOW_WEBHOOK_PATH"].read(), str):
        return []
    path = conf.webhook_path
    mounted = _find_mount()
    if mounted is None:
        return [
            _warning(
                "W003",
                "django_hookflow.urls is not among the URLs of this project: deliveries would find nothing.",
                f'Add path("{path.lstrip("/")}", include("django_hookflow.urls")) to the urlpatterns of ROOT_URLCONF.',
            )
        ]
    # A server may mount the whole project under a prefix (SCRIPT_NAME) that is not known here.
    if path.endswith(mounted):
        return []
    return [
        _warning(
            "W003",
            f"DJANGO_HOOKFLOW_WEBHOOK_PATH is {path}, but django_hookflow.urls is mounted at {mounted}.",
            f'Set DJANGO_HOOKFLOW_WEBHOOK_PATH = "{mounted}", unless a proxy in front of the app turns one into the other.',
        )
    ]


def check_checkpoint_keys(**kwargs: Any) -> list[CheckMessage]:
    """E008: the algorithm of checkpoints is known and installed, and a secret is long enough."""
    if any(SETTINGS[name].find_fault(SETTINGS[name].read()) for name in SETTINGS if "_CHECKPOINT_" in name):
        return []  # E001 has said so
    return [
        _error("E008", f"{fault.setting} {fault.fault}.", f"{fault.remedy[0].upper()}{fault.remedy[1:]}.")
        for fault in signing.find_faults()
    ]


def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """E005, E006: the guards are managed, and the log's database is PostgreSQL."""
    found: list[CheckMessage] = []
    if not apps.is_installed("pgtrigger"):
        found.append(
            _error(
                "E005",
                '"pgtrigger" is not in INSTALLED_APPS: the guards of the event log would not be managed.',
                'Add "pgtrigger" to INSTALLED_APPS, before "django_hookflow".',
            )
        )
    connection = connections[alias()]
    if connection.vendor != "postgresql":
        found.append(
            _error(
                "E006",
                f"The database {alias()!r} is {connection.display_name}; the event log needs PostgreSQL.",
                "Use django.db.backends.postgresql, or a database router that names a PostgreSQL database for the "
                "app django_hookflow.",
            )
        )
    return found


def check_database(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E020, E021: the server and the guards, if the log's database is among those to be checked."""
    name = alias()
    if name not in (databases or ()) or connections[name].vendor != "postgresql":
        return []
    with connections[name].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::integer")
        version = cursor.fetchone()[0] // 10_000
        if version < OLDEST_SERVER:
            return [describe_old_server(version)]
        cursor.execute(_GUARDS)
        tables = cursor.fetchall()
    return [
        describe_missing_guard(table, operation)
        for table, guards in tables
        for operation, wanted in (("UPDATE and DELETE", _REFUSES_CHANGES), ("TRUNCATE", _REFUSES_TRUNCATE))
        if not any(guard & wanted == wanted for guard in guards)
    ]


def check_protection(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """I030, W030: which layers protect the log, and whether this login gets past them."""
    name = alias()
    if name not in (databases or ()) or connections[name].vendor != "postgresql":
        return []
    with connections[name].cursor() as cursor:
        layers = protection.look(cursor, guards=not check_database(databases))
    return list(protection.describe(layers)) if layers else []


def describe_old_server(version: int) -> CheckMessage:
    """E020: what is said of a server of this major version."""
    return _error(
        "E020",
        f"The database server is PostgreSQL {version}; the event log needs {OLDEST_SERVER} or newer.",
        "Upgrade the server.",
    )


def describe_missing_guard(table: str, operation: str) -> CheckMessage:
    """E021: what is said of a table of the log on which nothing refuses an operation."""
    return _error(
        "E021",
        f"Nothing refuses {operation} on {table}: its guard trigger is missing, or is not ENABLE ALWAYS.",
        f'See \\d "{table}" in psql. If the trigger is there: ALTER TABLE {table} ENABLE ALWAYS TRIGGER <name>. If it '
        "is not: manage.py pgtrigger install django_hookflow; a partition needs a TRUNCATE guard of its own.",
    )


def _missing_settings() -> list[str]:
    transport = _transport()
    return [
        name for name, setting in SETTINGS.items() if transport in setting.required_by and setting.read() in (None, "")
    ]


def _transport() -> str:
    return _read_text("DJANGO_HOOKFLOW_TRANSPORT") or "qstash"


def _find_mount() -> str | None:
    """The path under which this project has django_hookflow.urls; None if it has not."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return None
    try:
        return reverse("django_hookflow:workflow", args=["x"]).removesuffix("workflow/x/")
    except NoReverseMatch:
        return None


def _read_text(name: str) -> str:
    """A setting's text; "" for a value of another type, which E001 tells of."""
    value = SETTINGS[name].read()
    return value if isinstance(value, str) else ""


def _suggest(name: str, real_names: Collection[str]) -> str:
    # Without the prefix, which says nothing and makes long names resemble each other.
    real = {name.removeprefix(PREFIX): name for name in real_names}
    nearest = difflib.get_close_matches(name.removeprefix(PREFIX), real, n=1, cutoff=0.6)
    return f"Did you mean {real[nearest[0]]}?" if nearest else f"Known are: {', '.join(real_names)}."


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


def _error(number: str, problem: str, way_out: str) -> CheckMessage:
    return django_checks.Error(problem, hint=way_out, id=f"django_hookflow.{number}")


def _warning(number: str, problem: str, way_out: str) -> CheckMessage:
    return django_checks.Warning(problem, hint=way_out, id=f"django_hookflow.{number}")
