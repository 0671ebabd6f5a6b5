"""Gives the messages on standard input to the webhook, signed as QStash signs them, and prints what it answers. Run by a
project's own process."""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

import django

django.setup()

from django.test import Client  # noqa: E402

from django_hookflow.delivery.signature import sign  # noqa: E402
from django_hookflow.delivery.transports import get_transport  # noqa: E402
from django_hookflow.delivery.transports.base import SendFailed  # noqa: E402

# QStash cannot be reached; what is not published is left to a relay.
transport = type(get_transport())


def refuse(self, message):
    raise SendFailed("there is no network")


transport.send = refuse

answers = []
for message in json.load(sys.stdin):
    address = urlsplit(message["url"])
    response = Client().post(
        address.path,
        message["body"],
        content_type="application/json",
        headers={"Upstash-Signature": sign(message["body"].encode(), message["url"])},
        SERVER_NAME=address.hostname,
        secure=address.scheme == "https",
    )
    answers.append({"code": response.status_code, "answer": response.json()})
json.dump(answers, sys.stdout)
