"""The settings of a user's project on QStash, with nothing said about tests."""

from __future__ import annotations

from tests.log.user_settings import *  # noqa: F403

DJANGO_HOOKFLOW_TRANSPORT = "qstash"
DJANGO_HOOKFLOW_DOMAIN = "https://shop.example.com"
QSTASH_TOKEN = "token"
QSTASH_CURRENT_SIGNING_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
QSTASH_NEXT_SIGNING_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
