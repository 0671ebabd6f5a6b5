"""The things of the project that runs are about: how a run names them, and how they are found again.

A reference is ``{"type": "shop.order", "key": "17"}``: the label of the model, of a proxy the one behind it, and the primary
key as text. It is a fact of the run's first event, so it is not redacted and must not itself be a secret.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db.models import Model

from django_hookflow.exceptions import WorkflowError
from django_hookflow.texts import checked_subject_key

#: Things that one run may be about.
MAX_SUBJECTS = 5

Subject = Model | Iterable[Model] | None
Reference = dict[str, str]


def references_to(subject: Subject) -> list[Reference]:
    """What a run says of its subject, each thing once. Raises WorkflowError for what cannot be found again."""
    if subject is None:
        return []
    if isinstance(subject, Model):
        return [reference_to(subject)]
    if isinstance(subject, (type, str, bytes)) or not isinstance(subject, Iterable):
        raise WorkflowError(f"subject {subject!r:.80} is not a saved model instance or a list of them")
    subjects = list(itertools.islice(subject, MAX_SUBJECTS + 1))
    if len(subjects) > MAX_SUBJECTS:
        raise WorkflowError(f"a run can have at most {MAX_SUBJECTS} subjects: keep those that people search by")
    references = [reference_to(each) for each in subjects]
    return [reference for place, reference in enumerate(references) if reference not in references[:place]]


def reference_to(thing: Model) -> Reference:
    """The reference to one saved instance."""
    if not isinstance(thing, Model):
        raise WorkflowError(f"subject {thing!r:.80} is not a saved model instance")
    model = thing._meta.concrete_model or type(thing)
    if isinstance(thing.pk, tuple):
        raise WorkflowError(
            f"a {model._meta.label} cannot be the subject of a run: it has a composite primary key. Use a model with a "
            "single-column key, or put the key into the run's label or data."
        )
    if thing.pk is None or thing._state.adding:  # noqa: SLF001 # which Django documents
        raise WorkflowError(f"subject {type(thing)._meta.label} is not a saved model instance: save it first")
    key = model._meta.pk.to_python(thing.pk)
    return {"type": model._meta.label_lower, "key": checked_subject_key(str(key))}


def model_of(reference: Reference) -> type[Model] | None:
    """The model that a reference names; None if the project has it no more."""
    try:
        return apps.get_model(reference["type"])
    except (LookupError, ValueError):
        return None


def find(reference: Reference) -> Model | None:
    """The instance, whatever its model's default manager hides; None if it is gone."""
    model = model_of(reference)
    if model is None:
        return None
    try:
        found: Any = model._base_manager.filter(pk=reference["key"]).first()  # noqa: SLF001 # documented, too
    except (ValidationError, ValueError, TypeError):  # a key of another kind than the model has by now
        return None
    return found if isinstance(found, Model) else None
