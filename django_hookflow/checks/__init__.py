"""System checks: what is wrong with this project's set-up, and the way out.

Run by ``manage.py check`` and before most commands; they read settings and make no network calls. A module for each
subject, and here the list.

========  ==========================================================================================================
``E001``  a setting has a value of the wrong type or out of range
``E002``  ``DJANGO_HOOKFLOW_TRANSPORT`` names no transport
``E003``  ``DJANGO_HOOKFLOW_PERSISTENCE_ENABLED`` is False, a mode that has no other transport than qstash
``E004``  ``DJANGO_HOOKFLOW_DOMAIN`` is not an origin: it has no scheme, or a path
``E006``  the log's database is not PostgreSQL
``E007``  an API's base URL is not a URL
``E008``  checkpoints can be neither signed nor verified with the algorithm or the key in the settings
``E009``  ``USE_TZ`` is False
``E011``  the log's database has ``AUTOCOMMIT: False``
``E012``  a wrapper in ``DJANGO_HOOKFLOW_WRAPPERS`` cannot be imported, or has nothing that could be called
``W001``  a setting that the transport cannot go without is missing
``W002``  no such setting: ``DJANGO_HOOKFLOW_…`` misspelt
``W003``  the webhook path is not where ``django_hookflow.urls`` is mounted, or it is mounted nowhere
``W004``  deliveries would travel over plain http
``W005``  the domain is this machine, which QStash cannot reach
``W006``  a text begins or ends with a space or a line break
``W007``  the log is in another database than the project's default
``W008``  ``QSTASH_URL`` is set in the environment and not in the settings
``W011``  (with ``--deploy``) runs would be cleaned up without an archive
========  ==========================================================================================================

A missing key is a warning, because ``migrate`` in a build that has no keys must go through. ``check --deploy`` says
``E010`` for it: with this the transport cannot work.

With a database at hand (``check --database default``, ``migrate``) the log itself is looked at as well:

========  ==========================================================================================================
``E020``  the server is older than PostgreSQL 14
``W020``  migrations of this release are not applied
``E021``  a guard of the event log is missing from a table, or is not always on
``W022``  the partitions of months end soon
``W023``  a partition was left half split
``E024``  there are migrations of this app that are not this release's, left over from 0.0.x
``W024``  foreign keys of the project still refer to tables of 0.0.x
``E025``  a function, view or table of ours is not as this release makes it
``E026``  a function, view, table or trigger of ours is gone
``E027``  a trigger, rule, policy or function is on the log's tables, or beside its functions, that is not ours
``E028``  an object in front on this login's ``search_path`` is taken for one of ours
``E029``  the database has another encoding than UTF8
``I025``  a view could not be compared: the login may not make temporary objects
========  ==========================================================================================================

With ``--deploy`` as well, what protects the log (:mod:`.protection`):

========  ==========================================================================================================
``I030``  which of the layers are on: guards, privileges, hash chain, signed checkpoints, archive
``W030``  this login could change the log, for it is not confined to the functions that write it
``E030``  everybody may call functions that run as the owner of the log: privileges were lost in a restore
========  ==========================================================================================================

``sig_…`` keys are taken as they are: nothing is known about their form.
"""

from django.core.checks import Tags, register

from django_hookflow.checks.address import check_api_urls, check_domain, check_environment, check_webhook_path
from django_hookflow.checks.installation import check_installation
from django_hookflow.checks.objects import check_objects
from django_hookflow.checks.predecessor import check_migrations, check_references
from django_hookflow.checks.protection import check_protection
from django_hookflow.checks.retention import check_archive, check_partitions
from django_hookflow.checks.server import check_server
from django_hookflow.checks.settings import (
    check_checkpoint_keys,
    check_names,
    check_required,
    check_required_for_deployment,
    check_transport,
    check_values,
    check_wrappers,
)


def register_checks() -> None:
    """Registers every check of this package. ``apps.ready()`` calls it."""
    for check in (
        check_values,
        check_names,
        check_transport,
        check_required,
        check_domain,
        check_api_urls,
        check_environment,
        check_webhook_path,
        check_checkpoint_keys,
        check_wrappers,
        check_installation,
    ):
        register(check, "django_hookflow")
    for check in (check_required_for_deployment, check_archive):
        register(check, "django_hookflow", deploy=True)
    for check in (check_server, check_objects, check_partitions, check_migrations, check_references):
        register(check, Tags.database)
    register(check_protection, Tags.database, deploy=True)
