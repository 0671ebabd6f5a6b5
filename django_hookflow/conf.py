"""The settings of this package, typed, each read from Django's settings at the moment it is asked for.

:data:`SETTINGS` is the one list: system checks, ``manage.py hookflow_settings`` and the README's table follow it.

``conf.turn_budget`` and the like give a value that can be used as it is: of the right type, within its range, a path
with its slashes, None for a text that is empty (as ``os.environ.get(…, "")`` leaves it). Whatever is wrong is said by
:meth:`Setting.find_fault`, once, to the system check and to whoever asks for the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from django_hookflow.exceptions import HookFlowException

QSTASH_PUBLIC_URL = "https://qstash.upstash.io"
GITHUB_PUBLIC_API_URL = "https://api.github.com"
TRANSPORTS = ("qstash", "http", "inline")

_TEXT: tuple[type, ...] = (str,)
_WHOLE: tuple[type, ...] = (int,)
_NUMBER: tuple[type, ...] = (int, float)
_AUTO = (str, bool)
_PATHS = (list, tuple)
_KIND_NAMES = {
    _TEXT: "a string",
    _WHOLE: "a whole number",
    _NUMBER: "a number",
    (bool,): "True or False",
    _AUTO: '"auto", True or False',
    _PATHS: "a list of dotted paths",
}


class InvalidSetting(HookFlowException, ImproperlyConfigured):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, fault: str, remedy: str) -> None:
        super().__init__(f"{name} {fault}: {remedy}")
        self.setting, self.fault, self.remedy = name, fault, remedy


@dataclass(frozen=True)
class Setting:
    """One setting.

    ``kind`` is what its value must be, ``least`` the smallest number it may be (``positive``: and not 0 itself),
    ``required_by`` the transports that cannot go without. A setting whose default is None may be None.
    """

    name: str
    default: Any
    kind: tuple[type, ...]
    meaning: str
    required_by: tuple[str, ...] = ()
    secret: bool = False
    least: float | None = None
    positive: bool = False

    @property
    def required(self) -> bool:
        """Whether the qstash transport, the default, cannot go without."""
        return "qstash" in self.required_by

    @property
    def kind_name(self) -> str:
        """What a value must be, in words: ``a number greater than 0``."""
        name = _KIND_NAMES[self.kind]
        if self.least is not None:
            name += f" greater than {self.least:g}" if self.positive else f" of at least {self.least:g}"
        return f"{name}, or None" if self.default is None else name

    @property
    def default_text(self) -> str:
        """The default as the documentation writes it."""
        return "none" if self.default is None else repr(self.default).replace("'", '"')

    def read(self) -> Any:
        """The value as the project has it, right or wrong; the default where the project says nothing."""
        return getattr(django_settings, self.name, self.default)

    def find_fault(self, value: Any) -> str:
        """What is wrong with a value, as the rest of a sentence that begins with the setting's name; "" if nothing is.

        Never shows a text: it may be a secret, put into the wrong setting.
        """
        if value is None and self.default is None:
            return ""
        # True is an int to Python; as a number of seconds it is a mistake.
        if not isinstance(value, self.kind) or (isinstance(value, bool) and bool not in self.kind):
            return f"is of type {type(value).__name__}" if value is not None else "is None"
        if isinstance(value, _PATHS) and not all(isinstance(path, str) for path in value):
            return "contains an item that is not a string"
        if self.kind is _AUTO and value not in ("auto", True, False):
            return "is not one of them"
        if isinstance(value, (int, float)) and not (math.isfinite(value) and self._is_in_range(value)):
            return f"is {value}"
        return ""

    def _is_in_range(self, value: float) -> bool:
        return self.least is None or value > self.least or (value == self.least and not self.positive)


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("QSTASH_TOKEN", None, _TEXT, "bearer token of the QStash API", required_by=("qstash",), secret=True),
        Setting("QSTASH_URL", QSTASH_PUBLIC_URL, _TEXT, "base URL of the QStash API, of a region or a local server"),
        Setting(
            "QSTASH_CURRENT_SIGNING_KEY",
            None,
            _TEXT,
            "verifies the signature of deliveries",
            required_by=("qstash", "http"),
            secret=True,
        ),
        Setting(
            "QSTASH_NEXT_SIGNING_KEY",
            None,
            _TEXT,
            "the key that QStash uses after the next rotation",
            required_by=("qstash",),
            secret=True,
        ),
        Setting(
            "DJANGO_HOOKFLOW_DOMAIN",
            None,
            _TEXT,
            "public origin of the app, to which messages are delivered, such as https://my-app.com",
            required_by=("qstash", "http"),
        ),
        Setting("DJANGO_HOOKFLOW_WEBHOOK_PATH", "/hookflow/", _TEXT, "where django_hookflow.urls is mounted"),
        Setting(
            "DJANGO_HOOKFLOW_PERSISTENCE_ENABLED",
            True,
            (bool,),
            "keep the event log; with False, histories travel in messages",
        ),
        Setting(
            "DJANGO_HOOKFLOW_APP_VERSION",
            None,
            _TEXT,
            "version of your code, recorded with each turn: text, or the dotted path of a callable that returns it",
        ),
        Setting(
            "DJANGO_HOOKFLOW_WRAPPERS",
            [],
            _PATHS,
            "dotted paths of wrappers around every turn, step and send, for tenants, tracing or error reporting",
        ),
        Setting("DJANGO_HOOKFLOW_TRANSPORT", "qstash", _TEXT, "how messages are sent: qstash, http or inline"),
        Setting(
            "DJANGO_HOOKFLOW_PREPARED_STATEMENTS",
            "auto",
            _AUTO,
            "whether to use server-side prepared statements for turns and steps; auto: as the prepare_threshold of the "
            "connection's OPTIONS says, and without one unless a pooler is in between",
        ),
        Setting("DJANGO_HOOKFLOW_TURN_BUDGET", 10, _NUMBER, "seconds after which a turn starts no more steps", least=0),
        Setting(
            "DJANGO_HOOKFLOW_STEPS_PER_TURN",
            None,
            _WHOLE,
            "maximum number of new steps in a turn; 1 means one delivery per step",
            least=1,
        ),
        Setting(
            "DJANGO_HOOKFLOW_LEASE_SECONDS",
            60,
            _NUMBER,
            "seconds without a sign of life after which another worker may take over the run",
            least=0,
            positive=True,
        ),
        Setting(
            "DJANGO_HOOKFLOW_OVERDUE_SECONDS",
            300,
            _NUMBER,
            "seconds after which the message of a turn that has not started is sent again",
            least=0,
            positive=True,
        ),
        Setting(
            "DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS",
            60,
            _NUMBER,
            "allowed clock difference when verifying signatures, in seconds",
            least=0,
        ),
        Setting(
            "DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE",
            1024 * 1024,
            _WHOLE,
            "maximum size of a webhook body, trigger data or a recorded result, in bytes",
            least=1,
        ),
        Setting(
            "DJANGO_HOOKFLOW_SEAL",
            None,
            _TEXT,
            "dotted path of the class or object that encrypts data and results; see django_hookflow.sealing",
        ),
        Setting(
            "DJANGO_HOOKFLOW_ARCHIVE_DIR",
            None,
            _TEXT,
            "directory in which cleanup_workflows archives events before it removes them",
        ),
        Setting(
            "DJANGO_HOOKFLOW_CHECKPOINT_ALGORITHM",
            "HS256",
            _TEXT,
            "signature algorithm of checkpoints: HS256, or RS256, ES256 or EdDSA with the cryptography extra",
        ),
        Setting(
            "DJANGO_HOOKFLOW_CHECKPOINT_KEY",
            None,
            _TEXT,
            "signs checkpoints: a secret of at least 32 bytes for HS256, otherwise a private key in PEM format",
            secret=True,
        ),
        Setting(
            "DJANGO_HOOKFLOW_CHECKPOINT_PUBLIC_KEY",
            None,
            _TEXT,
            "verifies checkpoints that are not signed with HS256: a public key in PEM format",
        ),
        Setting("GITHUB_PERSONAL_ACCESS_TOKEN", None, _TEXT, "token for dispatching GitHub Actions", secret=True),
        Setting("GITHUB_DEFAULT_REPO", None, _TEXT, "default repository for dispatches, as owner/name"),
        Setting(
            "DJANGO_HOOKFLOW_GITHUB_API_URL",
            GITHUB_PUBLIC_API_URL,
            _TEXT,
            "base URL of the GitHub API; https://HOST/api/v3 for GitHub Enterprise Server",
        ),
    )
}


class Settings:
    """``conf.turn_budget`` and the like: the short lower-case name of each setting, read through Django's settings."""

    qstash_token: str | None
    qstash_url: str
    qstash_current_signing_key: str | None
    qstash_next_signing_key: str | None
    domain: str | None
    webhook_path: str
    persistence_enabled: bool
    app_version: str | None
    wrappers: list[str]
    transport: str
    prepared_statements: bool | None
    turn_budget: float
    steps_per_turn: int | None
    lease_seconds: float
    overdue_seconds: float
    clock_skew_seconds: float
    max_payload_size: int
    seal: str | None
    archive_dir: str | None
    checkpoint_algorithm: str
    checkpoint_key: str | None
    checkpoint_public_key: str | None
    github_personal_access_token: str | None
    github_default_repo: str | None
    github_api_url: str

    def __getattr__(self, short_name: str) -> Any:
        """The value of a setting. Raises InvalidSetting for one that cannot be used."""
        upper = short_name.upper()
        setting = SETTINGS.get(f"DJANGO_HOOKFLOW_{upper}") or SETTINGS.get(upper)
        if setting is None:
            raise AttributeError(f"django_hookflow has no setting {short_name!r}")
        value = setting.read()
        fault = setting.find_fault(value)
        if fault:
            raise InvalidSetting(setting.name, fault, f"it must be {setting.kind_name}")
        if value is None or value == "":
            return setting.default
        return _NORMALIZE[setting.name](value) if setting.name in _NORMALIZE else value


def normalize_path(path: str) -> str:
    """A path with one slash at each end: ``hookflow`` means ``/hookflow/``; ``/`` stays what it is."""
    inner = path.strip("/")
    return f"/{inner}/" if inner else "/"


#: The first two are put together to a URL, so that a slash too many or too few makes no difference; the third is what
#: psycopg takes.
_NORMALIZE: dict[str, Callable[[Any], Any]] = {
    "DJANGO_HOOKFLOW_DOMAIN": lambda origin: origin.rstrip("/"),
    "DJANGO_HOOKFLOW_WEBHOOK_PATH": normalize_path,
    "DJANGO_HOOKFLOW_PREPARED_STATEMENTS": lambda prepared: None if prepared == "auto" else prepared,
}


conf = Settings()


def is_stateless() -> bool:
    """Whether there is no event log. Never raises: a value that is neither True nor False is E001's matter."""
    return SETTINGS["DJANGO_HOOKFLOW_PERSISTENCE_ENABLED"].read() is False
