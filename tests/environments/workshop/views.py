"""What a test wants to know of a web process."""

from __future__ import annotations

import time

from django.core import mail
from django.db import connection
from django.http import HttpRequest, JsonResponse


def tell(request: HttpRequest) -> JsonResponse:
    """Its clock, whether Django takes it for a test environment, and whether its requests are transactions."""
    return JsonResponse(
        {
            "time": time.time(),
            "is_test_environment": hasattr(mail, "outbox"),
            "in_transaction": connection.in_atomic_block,
        }
    )
