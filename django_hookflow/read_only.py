"""Models of the log and of what is folded from it: read with the ORM, and written by the functions of the database."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from django.db import models

from django_hookflow.exceptions import NotWritable

M = TypeVar("M", bound=models.Model, covariant=True)


class ReadOnlyQuerySet(models.QuerySet[M]):
    """Refuses whatever writes; so do the async methods and the managers of relations, which end here."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotWritable(self.model.__name__)

    create: Any = _refuse
    bulk_create: Any = _refuse
    get_or_create: Any = _refuse
    update_or_create: Any = _refuse
    update: Any = _refuse
    bulk_update: Any = _refuse
    delete: Any = _refuse


class ReadOnlyManager(models.Manager[M]):
    """The default; others are made with ``Manager.from_queryset``."""

    def get_queryset(self) -> ReadOnlyQuerySet[M]:
        return ReadOnlyQuerySet(self.model, using=self._db)


class ReadOnlyModel(models.Model):
    """``objects`` is the base manager, too: by that one the managers of relations write."""

    objects: models.Manager[Any] = ReadOnlyManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotWritable(type(self).__name__)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotWritable(type(self).__name__)
