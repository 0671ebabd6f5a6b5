"""The shop of the snippets, importable as they import it."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from tests.readme.shop import Provider, Shop, running_provider
from tests.readme.snippets import find_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop()
    orders: Any = types.ModuleType("shop.orders")
    for name in ("validate_order", "write_ledger", "fulfil_order"):
        setattr(orders, name, getattr(shop, name))
    monkeypatch.setitem(sys.modules, "shop", types.ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.orders", orders)
    return shop


@pytest.fixture
def provider(settings: Settings) -> Iterator[Provider]:
    with running_provider() as provider:
        settings.PAYMENT_URL = provider.url
        yield provider


@pytest.fixture
def names(shop: Shop, provider: Provider, transactional_db: None) -> dict[str, Any]:
    """What is in scope once the first workflow of the README stands: it, its first run, and the shop's functions."""
    functions = {name: getattr(shop, name) for name in dir(shop) if callable(getattr(shop, name)) and name[0] != "_"}
    return {**functions, **find_block("A workflow").run()}
