"""The Django project that is measured: the package with its defaults, workers without a web hop, and trivial steps."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django_hookflow.demo.postgres import settings_from_url

if TYPE_CHECKING:
    from django_hookflow import Workflow, WorkflowContext

#: A turn may go on for as long as it likes: how a run is cut into deliveries is not what is measured.
NO_BUDGET = 1e6

#: What the admin needs, whose pages are measured, too.
ADMIN_APPS = [
    f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
]
ADMIN_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ADMIN_TEMPLATES = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]
    },
}


def set_up(conninfo: str) -> None:
    """Configures Django for the database and makes the tables in it."""
    configure(conninfo)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def configure(conninfo: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="benchmarks",
        DATABASES={"default": {**settings_from_url(conninfo), "CONN_MAX_AGE": None}},
        INSTALLED_APPS=[*ADMIN_APPS, "django_hookflow"],
        MIDDLEWARE=ADMIN_MIDDLEWARE,
        TEMPLATES=[ADMIN_TEMPLATES],
        ROOT_URLCONF="benchmarks.urls",
        STATIC_URL="static/",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DJANGO_HOOKFLOW_TRANSPORT="inline",
        DJANGO_HOOKFLOW_TURN_BUDGET=NO_BUDGET,
        SILENCED_SYSTEM_CHECKS=["django_hookflow.W003"],
    )
    django.setup()


@functools.cache  # an id belongs to one function
def trivial_workflow() -> Workflow:
    """``{"steps": n}``: n steps that do nothing but return a number."""
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.trivial")
    def trivial(ctx: WorkflowContext) -> int:
        for i in range(ctx.data["steps"]):
            ctx.step.run(f"step-{i}", do_nothing, i)
        return int(ctx.data["steps"])

    return trivial


@functools.cache
def sleeping_workflow() -> Workflow:
    """Sleeps once, and is done."""
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.sleeping")
    def sleeping(ctx: WorkflowContext) -> None:
        if not ctx.data.get("is_awake"):
            ctx.step.sleep("nap", seconds=0)

    return sleeping


@functools.cache
def mapping_workflow() -> Workflow:
    """``{"steps": n}``: the same n steps, at once."""
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.mapping")
    def mapping(ctx: WorkflowContext) -> int:
        return len(ctx.step.map("step", do_nothing, range(ctx.data["steps"])))

    return mapping


def do_nothing(value: Any) -> Any:
    return value


def run_to_end(workflow: Workflow, steps: int) -> None:
    """One run: triggered, delivered once, completed."""
    from django_hookflow.runtime.turn import run_turn

    run_id = workflow.trigger({"steps": steps})
    answer = run_turn(workflow.workflow_id, run_id, 1, delivery={}).answer
    assert answer == "completed", answer
