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
    "Check DJANGO_HOOKFLOW_DOMAIN and DJANGO_HOOKFLOW_WEBHOOK_PATH, that django_hookflow.urls is mounted there, and that "
    "a proxy in front of the app hands the path on."
)
WAYS_OUT = {
    "dns": f"{DOMAIN} for a typo, then the DNS records of that name.",
    "tls": "Renew or complete the certificate (the chain, too), or check the scheme and port of DJANGO_HOOKFLOW_DOMAIN.",
    "timeout": f"{DOMAIN}, the firewall in front of the app, and whether the app answers at all.",
    "refused": f"{DOMAIN}, its port as well, and whether the app runs.",
    "connection": f"{DOMAIN}, and what the proxy in front of the app logs.",
}
STATUS_WAYS_OUT = {
    400: "Add the host of DJANGO_HOOKFLOW_DOMAIN to ALLOWED_HOSTS; the log of the app says more.",
    401: "Something in front of the webhook asks for a login: exempt the webhook's path, which has its signature.",
    403: "Something in front of the webhook forbids it (a firewall, a login): exempt the webhook's path from it.",
    404: PATH,
}


def look_at_address(visit: Visit) -> Iterator[Finding]:
    if conf.transport == "inline":
        yield ok("address.none", "The inline transport needs no address.")
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
            f"The webhook at {without_credentials(url)} has no key to check signatures with.",
            "Set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY for the web processes as well.",
        )
    if response.status_code == 401 and answer.startswith("signature refused: "):
        return ok("address.answers", f"The webhook answers at {without_credentials(url)}, as seen from this machine.")
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
            "The webhook refuses what is signed here: its process has other keys, another domain, or another time.",
            "Compare the settings of the web processes with those of this one (manage.py hookflow_settings) and the "
            "clocks. The log of the web process, django_hookflow.webhook, says what did not fit.",
        )
    if response.status_code in (404, 489) and _error_of(body):
        return ok("address.accepts", "The webhook accepts what is signed with the current key.")
    return warning(
        "address.unwell",
        f"The webhook answered {response.status_code} to a delivery for a workflow that does not exist.",
        "404 would be right. The log of the web process, django_hookflow.webhook, says more.",
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
            "Set DJANGO_HOOKFLOW_DOMAIN and DJANGO_HOOKFLOW_WEBHOOK_PATH so that none is needed: https where "
            "SECURE_SSL_REDIRECT wants it, the host name that the site is served under, the slashes of the mount.",
        )
    seen = f"{shown} answered {status}, and it was not the webhook that answered."
    if status >= 500:
        return error("address.failing", seen, "See the log of the app, and of the proxy in front of it.")
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
            f"From here {host} is {', '.join(sorted(map(str, found)))}, which QStash cannot reach from the internet.",
            "Use a public name, or that of a tunnel, unless only this network resolves the name that way.",
        )
