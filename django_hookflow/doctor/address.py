"""The area ``address``: whether the webhook answers where deliveries are sent.

Two requests, neither of which changes anything. One has a signature that is none: our webhook, and nothing else, answers
401 with a JSON body that says what is wrong with it. The other is signed as a delivery is, for a workflow that does not
exist: the webhook knows no such workflow (404) once it has accepted the signature, so keys, clock and URL fit over there.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import requests

from django_hookflow.conf import QSTASH_PUBLIC_URL, conf
from django_hookflow.delivery.messages import webhook_url
from django_hookflow.delivery.signature import sign
from django_hookflow.delivery.transports.qstash import base_url
from django_hookflow.doctor.findings import Finding, error, ok, warning
from django_hookflow.doctor.wire import Unreachable, host_of, send, without_credentials

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

WORKFLOW = "hookflow.doctor"
BODY = b'{"workflow_id":"hookflow.doctor","run_id":"hookflow-doctor","seq":1}'

DOMAIN = "Check DJANGO_HOOKFLOW_DOMAIN"
PATH = (
    "Check DJANGO_HOOKFLOW_DOMAIN and DJANGO_HOOKFLOW_WEBHOOK_PATH, that django_hookflow.urls is mounted there, and "
    "that any proxy in front of the app keeps the path."
)
WAYS_OUT = {
    "dns": f"{DOMAIN} for a typo, then check the DNS records of that name.",
    "tls": "Renew the certificate or complete its chain, or check the scheme and port of DJANGO_HOOKFLOW_DOMAIN.",
    "timeout": f"{DOMAIN}, the firewall in front of the app, and that the app is responding.",
    "refused": f"{DOMAIN}, including the port, and that the app is running.",
    "connection": f"{DOMAIN}, and the log of the proxy in front of the app.",
}
STATUS_WAYS_OUT = {
    400: "Add the host of DJANGO_HOOKFLOW_DOMAIN to ALLOWED_HOSTS; see the log of the app for details.",
    401: (
        "Something in front of the webhook requires a login. Exempt the webhook's path: its requests are "
        "authenticated by their signature."
    ),
    403: (
        "Something in front of the webhook blocks the request, such as a firewall or a login. Exempt the webhook's "
        "path."
    ),
    404: PATH,
}


def look_at_address(visit: Visit) -> Iterator[Finding]:
    if conf.transport == "inline":
        yield ok("address.none", "The inline transport does not need a public address.")
        return
    url = webhook_url(WORKFLOW)
    yield from _look_at_name(host_of(url))
    found = knock(url)
    yield found
    if found.level == "ok" and conf.qstash_current_signing_key:
        yield deliver(url)


def knock(url: str) -> Finding:
    """What a request without a valid signature comes to."""
    try:
        response, body = _post(url, "hookflow-doctor")
    except Unreachable as unreachable:
        seen = f"{without_credentials(url)} cannot be reached: {unreachable}."
        return error(f"address.{unreachable.kind}", seen, WAYS_OUT[unreachable.kind])
    answer = _error_of(body)
    if response.status_code == 401 and answer.startswith("signature refused: no key"):
        return error(
            "address.no_keys",
            f"The webhook at {without_credentials(url)} has no key to verify signatures with.",
            "Set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY for the web processes too.",
        )
    if response.status_code == 401 and answer.startswith("signature refused: "):
        return ok("address.answers", f"The webhook at {without_credentials(url)} answers requests from this machine.")
    return _say_foreign(url, response)


def deliver(url: str) -> Finding:
    """What a delivery for a workflow that does not exist comes to."""
    try:
        response, body = _post(url, sign(BODY, url))
    except Unreachable as unreachable:
        return warning("address.unsteady", f"A second request failed: {unreachable}.", WAYS_OUT[unreachable.kind])
    if response.status_code == 401:
        return error(
            "address.other_keys",
            "The webhook rejects requests signed by this process: its keys, its domain or its clock differ.",
            "Compare the settings (manage.py hookflow_settings) and the clock of the web processes with those of this "
            "process. The reason is in the django_hookflow.webhook log of the web process.",
        )
    if response.status_code in (404, 489) and _error_of(body):
        return ok("address.accepts", "The webhook accepts requests signed with the current key.")
    return warning(
        "address.unwell",
        f"The webhook answered {response.status_code} to a delivery for a workflow that does not exist.",
        "The expected answer is 404. See the django_hookflow.webhook log of the web process for details.",
    )


def _post(url: str, token: str) -> tuple[requests.Response, bytes]:
    with requests.Session() as session:
        # The relay asks the app directly; QStash comes from outside, to where a proxy may be the only way from here.
        session.trust_env = conf.transport == "qstash"
        session.auth = _as_it_is
        headers = {"Content-Type": "application/json", "User-Agent": "hookflow-doctor", "Upstash-Signature": token}
        return send(session, "POST", url, data=BODY, headers=headers)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An auth that adds none; without one, requests would look for credentials in ~/.netrc."""
    return request


def _say_foreign(url: str, response: requests.Response) -> Finding:
    status, shown = response.status_code, without_credentials(url)
    if response.is_redirect:
        to = without_credentials(response.headers["Location"])[:200]
        return error(
            "address.redirect",
            f"{shown} redirects to {to}. Deliveries do not follow redirects.",
            "Set DJANGO_HOOKFLOW_DOMAIN and DJANGO_HOOKFLOW_WEBHOOK_PATH to the final URL: https if "
            "SECURE_SSL_REDIRECT is on, the canonical host name, and the same slashes as in the URLconf.",
        )
    seen = f"{shown} answered {status}, but the response is not from the webhook."
    if status >= 500:
        return error("address.failing", seen, "See the logs of the app and of the proxy in front of it.")
    code = "address.not_found" if status == 404 else "address.foreign"
    return error(code, seen, STATUS_WAYS_OUT.get(status, PATH))


def _error_of(body: bytes) -> str:
    """The text under ``error`` in a JSON object; "" for anything else."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    found = answer.get("error") if isinstance(answer, dict) else None
    return found if isinstance(found, str) else ""


def _look_at_name(host: str) -> Iterator[Finding]:
    """Whether the public QStash could come here at all. W005 is about this machine's own names."""
    if conf.transport != "qstash" or base_url() != QSTASH_PUBLIC_URL:
        return
    try:
        found = {ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return  # the request says so
    if found and not any(address.is_global for address in found):
        yield warning(
            "address.private",
            f"From this machine, {host} resolves to {', '.join(sorted(map(str, found)))}, which QStash cannot reach "
            "from the internet.",
            "Use a public name or the name of a tunnel. If the name resolves to a public address elsewhere, there is "
            "nothing to do.",
        )
