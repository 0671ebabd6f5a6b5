"""The page behind ``ctx.signal_url``: GET shows it and changes nothing, POST sends the signal.

Programs that look into mails open every link in them, so only a click on the page's button acts. What is posted, JSON or a
form, is the signal's value. The link's signature is the authority, not a session or a cookie that a browser would send
along with somebody else's form, so there is nothing that a CSRF token could protect; who has no link cannot post.

The page works without JavaScript and under a policy that allows nothing inline. A project may put a template of its own
in its place: ``django_hookflow/signal.html``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.template import TemplateDoesNotExist, loader
from django.template.backends.django import DjangoTemplates
from django.templatetags.static import static

from django_hookflow.exceptions import (
    NeedsLog,
    NotMigrated,
    NotSerializable,
    OperationRefused,
    UnknownRun,
)
from django_hookflow.runtime.signal_links import InvalidLink, LinkStanding, SignalLink
from django_hookflow.runtime.signalling import send
from django_hookflow.views import Refused, exempted, read_body

logger = logging.getLogger("django_hookflow.webhook")

TEMPLATE = "django_hookflow/signal.html"
#: Who the log says has sent the signal: nobody has logged in for it.
ACTOR = "signed link"


@dataclass(frozen=True)
class Reply:
    """What is answered: a status, a word for programs, and for people a heading and a sentence."""

    status: int
    code: str
    heading: str
    text: str


OPEN = Reply(200, "open", "Please confirm", "Nothing has been sent yet. Press the button to send your answer.")
SENT = Reply(200, "sent", "Thank you", "Your answer has been recorded. You can close this page.")
USED = Reply(
    409, "used", "This link has already been used", "An answer has already been recorded. Nothing has changed."
)
OVER = Reply(
    410, "over", "There is nothing left to answer", "The process this link belongs to has ended. Nothing has changed."
)
EXPIRED = Reply(410, "expired", "This link has expired", "Ask the sender for a new link. Nothing has changed.")
UNKNOWN = Reply(
    404, "unknown", "This link does not exist", "The process it belongs to could not be found. Nothing has changed."
)
FORGED = Reply(
    403, "invalid", "This link is not valid", "Part of it may be missing. Open it again from the original message."
)
METHOD = Reply(405, "method", "Method not allowed", "Open the link with GET and send an answer with POST.")
TOO_LARGE = Reply(413, "too_large", "The answer is too large", "Send a shorter answer. Nothing has changed.")
MALFORMED = Reply(400, "malformed", "The answer cannot be read", "Nothing has changed.")
AWAY = Reply(503, "unavailable", "Please try again in a moment", "Your answer could not be recorded.")

_STATES = {"open": OPEN, "used": USED, "over": OVER, "expired": EXPIRED, "unknown": UNKNOWN}


def respond(request: HttpRequest, token: str) -> HttpResponse:
    """Shows what a link is for, or uses it; every answer is a page, or JSON for who asks for that."""
    link = None
    try:
        link = SignalLink.read(token)
        reply = _reply(request, link)
    except InvalidLink:
        reply = FORGED
    except NeedsLog as error:
        logger.warning("hookflow: a signed link was opened: %s", error)
        reply = UNKNOWN
    except (NotMigrated, DatabaseError):
        logger.exception("hookflow: a signed link was opened, but the database could not be reached")
        reply = AWAY
    response = _as_json(reply, link) if _wants_json(request) else _as_page(request, reply, link)
    if reply is METHOD:
        response["Allow"] = "GET, HEAD, POST"
    if reply is AWAY:
        response["Retry-After"] = "5"
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["X-Frame-Options"] = "DENY"
    return response


signal = exempted(respond)


def _reply(request: HttpRequest, link: SignalLink) -> Reply:
    if request.method not in ("GET", "HEAD", "POST"):
        return METHOD
    standing = link.stand()
    if standing.state != "open" or request.method != "POST":
        return _STATES[standing.state]
    try:
        value = _value(request)
    except Refused as refusal:
        return TOO_LARGE if refusal.status == TOO_LARGE.status else _malformed(refusal)
    return _send(link, standing, value)


def _send(link: SignalLink, standing: LinkStanding, value: Any) -> Reply:
    """Sends the signal, as things stand now: since the link was looked up another click may have been faster."""
    try:
        is_new = send(link.run_uid, standing.workflow_id, standing.run_id, link.name, value, id=link.id, actor=ACTOR)
    except NotSerializable as error:
        return _malformed(error)
    except (OperationRefused, UnknownRun):
        return OVER
    return SENT if is_new else USED


def _malformed(problem: Exception) -> Reply:
    return replace(MALFORMED, text=f"Nothing has changed: {problem}.")


def _value(request: HttpRequest) -> Any:
    """What is posted: JSON, the fields of a form, or None for nothing at all. Raises Refused."""
    body = read_body(request)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return _form(request)
    if not body:
        return None
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(MALFORMED.status, f"the body is neither JSON nor a form ({type(error).__name__})") from error


def _form(request: HttpRequest) -> dict[str, Any]:
    """The fields by name; one that is there several times is a list."""
    try:
        fields, files = request.POST, request.FILES
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise Refused(MALFORMED.status, f"the form cannot be read ({type(error).__name__})") from error
    if files:
        raise Refused(MALFORMED.status, "files are not accepted")
    return {name: values[0] if len(values) == 1 else values for name, values in fields.lists()}


def _wants_json(request: HttpRequest) -> bool:
    """Whether a program asks: it names JSON as what it takes, or sends it, and does not name HTML."""
    accepted = request.headers.get("Accept", "").lower()
    return "text/html" not in accepted and "json" in f"{accepted} {request.content_type}"


def _as_json(reply: Reply, link: SignalLink | None) -> HttpResponse:
    content: dict[str, Any] = {"status": reply.code}
    if reply.status >= 400:
        content["error"] = f"{reply.heading}. {reply.text}"
    if reply is OPEN and link is not None:
        content["signal"] = link.name
    return JsonResponse(content, status=reply.status)


def _as_page(request: HttpRequest, reply: Reply, link: SignalLink | None) -> HttpResponse:
    fields = [(name, value) for name, values in request.GET.lists() for value in values] if reply is OPEN else []
    stylesheet = _stylesheet()
    context = {"reply": reply, "is_open": reply is OPEN, "link": link, "fields": fields, "stylesheet": stylesheet}
    try:
        text = str(loader.render_to_string(TEMPLATE, context, request))
    except TemplateDoesNotExist as missing:
        if str(missing) != TEMPLATE:
            raise
        text = str(_own_engine().get_template(TEMPLATE).render(context, request))
    response = HttpResponse(text, status=reply.status)
    response["Content-Security-Policy"] = _policy(stylesheet)
    return response


def _own_engine() -> DjangoTemplates:
    """For a project whose templates are not Django's, or that has none."""
    directory = Path(__file__).parent / "templates"
    return DjangoTemplates({"NAME": "hookflow", "DIRS": [directory], "APP_DIRS": False, "OPTIONS": {}})


def _stylesheet() -> str | None:
    """Where it is served; None where static files are to be collected and are not: the page can do without."""
    try:
        return static("django_hookflow/signal.css")
    except (ValueError, ImproperlyConfigured):
        return None


def _policy(stylesheet: str | None) -> str:
    origin = urlsplit(stylesheet or "")
    host = f"{origin.scheme}://{origin.netloc}" if origin.scheme else origin.netloc
    sources = f"'self' {host}".strip()
    allowed = "; ".join(f"{kind} {sources}" for kind in ("style-src", "img-src", "font-src"))
    return f"default-src 'none'; {allowed}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
