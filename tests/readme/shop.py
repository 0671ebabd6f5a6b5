"""What the README's snippets take for granted: a shop's own code, a bank, a payment provider that answers over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.testapp.models import LedgerEntry


@dataclass
class Provider:
    """Charges once for each Idempotency-Key, however often it is asked."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    charges: dict[str, dict[str, Any]] = field(default_factory=dict)

    def charge(self, key: str, order: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(key)
        return self.charges.setdefault(key, {"charge_id": f"ch_{len(self.charges) + 1}", **order})


@contextmanager
def running_provider() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(provider.charge(self.headers["Idempotency-Key"], body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        provider.url = f"http://127.0.0.1:{server.server_address[1]}/charges"
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Shop:
    """Functions that steps call; ``calls`` names them in order."""

    calls: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def validate_order(self, order_id: int) -> dict[str, int]:
        self.calls.append("validate_order")
        return {"id": order_id, "amount": 4_200}

    def write_ledger(self, order_id: int, charge_id: str) -> int:
        return LedgerEntry.objects.create(account=f"order-{order_id}", amount=1, reference=charge_id).pk

    def fulfil_order(self, order_id: int) -> str:
        self.calls.append("fulfil_order")
        return f"parcel-{order_id}"

    def customers_to_bill(self, month: str) -> list[int]:
        return [3, 5]

    def create_invoice(self, customer_id: int, *, month: str) -> str:
        return LedgerEntry.objects.create(account=f"customer-{customer_id}", amount=1, reference=month).reference

    def mail_invoice(self, invoice: str) -> None:
        self.calls.append("mail_invoice")

    def fetch_prices(self, supplier: str) -> dict[str, int]:
        self.calls.append("fetch_prices")
        if self.failures:
            raise self.failures.pop(0)
        return {"apple": 1}

    def store_prices(self, prices: dict[str, int]) -> int:
        return len(prices)

    def book_flight(self, to: str) -> str:
        return f"flight to {to}"

    def book_hotel(self, to: str) -> str:
        raise ValueError(f"no room in {to}")

    def cancel_flight(self, flight: str) -> None:
        self.calls.append("cancel_flight")

    def send_welcome(self, email: str) -> None:
        self.calls.append("send_welcome")

    def send_tips(self, email: str) -> None:
        self.calls.append("send_tips")


@dataclass
class Bank:
    """Makes a transfer each time it is asked, whatever the key."""

    transfers: list[tuple[int, str]] = field(default_factory=list)

    def transfer(self, amount: int, key: str) -> int:
        self.transfers.append((amount, key))
        return len(self.transfers)

    def find_transfer(self, key: str) -> int | None:
        return 1 if any(made == key for _, made in self.transfers) else None


@dataclass
class Payments:
    """A client library that takes an idempotency key."""

    refunds: list[str] = field(default_factory=list)

    def refund(self, charge_id: str, *, idempotency_key: str) -> str:
        self.refunds.append(idempotency_key)
        return f"refund of {charge_id}"
