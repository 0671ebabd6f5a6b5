"""A payment provider as many are: it charges once for each Idempotency-Key, and takes its time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from django.db.models import F
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_hookflow.demo.shop.models import Charge

if TYPE_CHECKING:
    from django.http import HttpRequest

#: Between booking a charge and saying so: the moment in which a caller can die not knowing that it has paid.
ANSWER_DELAY_SECONDS = 1.5


@csrf_exempt
@require_POST
def charge(request: HttpRequest) -> JsonResponse:
    key = request.headers.get("Idempotency-Key")
    if not key:
        return JsonResponse({"error": "an Idempotency-Key header is required"}, status=400)
    booked, is_new = Charge.objects.get_or_create(
        idempotency_key=key, defaults={"amount": json.loads(request.body)["amount"]}
    )
    if is_new:
        time.sleep(ANSWER_DELAY_SECONDS)
    else:
        Charge.objects.filter(pk=booked.pk).update(requests=F("requests") + 1)
    return JsonResponse({"charge_id": f"ch_{booked.pk}", "amount": booked.amount})
