"""Calls to servers that are slow, hostile or odd: the time is kept, nothing is disclosed, and an answer is an answer."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
import requests

from django_hookflow import Retry, WorkflowContext, exchange, workflow
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from django_hookflow.retry_after import retry_after_seconds
from django_hookflow.runtime import calls
from django_hookflow.runtime.calls import CallFailed
from django_hookflow.runtime.failures import describe, rebuild
from django_hookflow.runtime.retries import is_retryable
from django_hookflow.testing import Hookflow
from tests.delivery.servers import Answer, Server, running_server
from tests.growth import count_calls
from tests.runtime.slow_servers import trickling

SECRET = "s3cr3tv4lue"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def get(url: str, timeout: float = 20, **options: Any) -> dict[str, Any]:
    return calls.request(url, options.pop("method", "GET"), options.pop("body", None), options.pop("headers", None),
                         idempotency_key="key", timeout=timeout)  # fmt: skip


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [
        (OK, b"X-Header: value\r\n"),
        (b"HTTP/1.1 ", b"2"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"\r\n", b"x"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nX-Slow: ", b"x"),
    ],
    ids=["headers", "status", "continue", "body", "chunks", "endless", "failing", "redirect"],
)
def test_a_trickle_is_cut_at_the_deadline_wherever_it_is(at_once: bytes, slowly: bytes) -> None:
    with trickling(at_once, slowly) as server:
        began = monotonic()
        with pytest.raises(requests.ReadTimeout, match=r"was not over after the 0.4 s it was given") as failure:
            get(f"{server.url}/path?token={SECRET}", timeout=0.4)
        assert 0.4 <= monotonic() - began < 2
        assert server.gone.wait(5), "the connection is closed, not left to trickle on"
    assert SECRET not in str(failure.value)


def test_a_handshake_that_trickles_is_cut_at_the_deadline() -> None:
    record = b"\x16\x03\x03\x3f\xff"
    with trickling(record, b"\x02") as server:
        began = monotonic()
        with pytest.raises(requests.Timeout):
            get(f"https://127.0.0.1:{server.port}/", timeout=0.4)
        assert monotonic() - began < 2
        assert server.gone.wait(5)


def test_resolving_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that does not answer: the operating system's function, which has no timeout, takes its place here."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: Event().wait(3) or [])
    began = monotonic()
    with pytest.raises(requests.ConnectTimeout, match="had no connection after the 0.3 s"):
        get("http://shop.example/", timeout=0.3)
    assert monotonic() - began < 2


@pytest.mark.django_db(transaction=True)
def test_a_server_that_trickles_is_tried_again(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.trickling", retry=Retry(max_attempts=2))
    def trickled(ctx: WorkflowContext) -> None:
        ctx.step.options(timeout=0.3).call("call", ctx.data["url"])

    with trickling(OK, b"X: ") as server:
        run = hookflow.run(trickled, {"url": server.url})
    assert [event.facts["error"] for event in hookflow.events(run.run_id) if event.type == "step.failed"] == [
        "requests.exceptions.ReadTimeout"
    ] * 2


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login ada password lovelace\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


@pytest.mark.usefixtures("netrc")
def test_netrc_is_not_read(server: Server) -> None:
    server.answers.extend([Answer(), Answer(307, headers={"Location": "/moved"}), Answer()])
    get(server.url)
    get(server.url, headers={"authorization": "Bearer mine"})
    first, second, moved = server.received
    assert "Authorization" not in first.headers
    assert (second.headers["Authorization"], moved.headers["Authorization"]) == ("Bearer mine", "Bearer mine")


def test_user_and_password_of_a_url_are_sent_unless_a_header_is_given(server: Server) -> None:
    url = server.url.replace("http://", "http://ada:love@")
    get(url)
    get(url, headers={"Authorization": "Bearer mine"})
    assert [request.headers["Authorization"] for request in server.received] == ["Basic YWRhOmxvdmU=", "Bearer mine"]


def test_a_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    get("http://shop.example/path")
    assert server.received[0].path == "http://shop.example/path"


def refuse(url: str) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def raw(answer: bytes) -> Callable[[str], Iterator[str]]:
    def running(url: str) -> Iterator[str]:
        with trickling(answer) as server:
            yield server.url

    return running


@pytest.mark.parametrize(
    ("make", "family", "is_tried_again"),
    [
        (refuse, requests.ConnectionError, True),
        (lambda url: "http://127.0.0.1:99999999", ValueError, False),
        (lambda url: "127.0.0.1", requests.exceptions.MissingSchema, False),
        (lambda url: "ftp://127.0.0.1", requests.exceptions.InvalidSchema, False),
        (lambda url: f"http://[{SECRET}", ValueError, False),
        (lambda url: f"http://ada:{SECRET}@127.0.0.1:x", ValueError, False),
        (lambda url: "http://nowhere.invalid", requests.ConnectionError, True),
        (raw(f"{SECRET} {SECRET}\r\n\r\n".encode()), requests.ConnectionError, True),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n"), requests.ConnectionError, True),
        (raw(OK + b"Content-Length: 5000\r\n\r\n" + SECRET.encode()), requests.ConnectionError, True),
        (raw(OK + b"Content-Encoding: gzip\r\n\r\n" + SECRET.encode()), requests.exceptions.ContentDecodingError, True),
        (raw(OK + b"Content-Encoding: br\r\n\r\n" + SECRET.encode()), requests.exceptions.ContentDecodingError, True),
        (raw(OK + f"X-{SECRET}: ".encode() + b"x" * 70_000 + b"\r\n\r\n"), requests.ConnectionError, True),
        (raw(OK + f"X: {SECRET}\r\n".encode() * 200 + b"\r\n"), requests.ConnectionError, True),
        (raw(f"HTTP/1.1 302 Found\r\nLocation: http://{SECRET}/{SECRET}\r\n\r\n".encode()), exchange.UnsafeRedirect, False),
        (raw(f"HTTP/1.1 302 Found\r\nLocation: http://[{SECRET}\r\n\r\n".encode()), ValueError, False),
        (raw(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /{SECRET}\r\n\r\n".encode()), requests.TooManyRedirects, True),
        (raw(f"HTTP/1.1 400 {SECRET}\r\nContent-Length: 11\r\n\r\n{SECRET}".encode()), CallFailed, False),
    ],
)  # fmt: skip
def test_an_error_keeps_its_family_and_discloses_nothing(
    make: Any, family: type[Exception], is_tried_again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = make("")
    url = made if isinstance(made, str) else next(made)
    with pytest.raises(family) as failure:
        get(f"{url}/path?token={SECRET}", method="POST", headers={"X-Api-Key": SECRET}, body={"a": SECRET})
    if not isinstance(made, str):
        made.close()
    error = failure.value
    described = describe(error)
    # The host of another origin is told, and it may be anything.
    assert SECRET not in json.dumps(described).replace(f"http://{SECRET}/: ", "")
    assert SECRET not in caplog.text
    assert str(error).startswith(("POST ", "http://127.0.0.1:"))
    assert error.__cause__ is error.__context__ is None
    assert is_retryable(error) is is_tried_again
    assert type(rebuild(described)) is type(error)


@pytest.mark.parametrize(
    "headers", [{"X-Key": f"{SECRET}\r\nX: y"}, {"X-Key": f"{SECRET}ü\u20ac"}, {f"{SECRET} :": "x"}]
)
def test_a_header_that_cannot_be_sent_is_not_quoted(server: Server, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^GET http://127.0.0.1:\d+ failed: ") as failure:
        get(server.url, headers=headers)
    assert SECRET not in json.dumps(describe(failure.value))


def test_a_malformed_header_is_not_logged_with_the_url(caplog: pytest.LogCaptureFixture) -> None:
    with trickling(OK + f"no colon {SECRET}\r\nContent-Length: 2\r\n\r\nok".encode()) as server:
        assert get(f"{server.url}/?token={SECRET}")["status_code"] == 200
    assert caplog.text == ""


@pytest.mark.django_db(transaction=True)
def test_nothing_of_a_failed_call_is_in_events_and_dead_letters(hookflow: Hookflow, server: Server) -> None:
    server.otherwise = Answer(400, SECRET.encode(), {"X-Answer": SECRET})

    @workflow(workflow_id="tests.disclosing")
    def disclosing(ctx: WorkflowContext) -> None:
        ctx.step.call("call", f"{server.url}/?key={SECRET}", "POST", {"a": SECRET}, {"X-Api-Key": SECRET})

    run = hookflow.run(disclosing)
    assert run.status == "failed"
    rows = [*WorkflowEvent.objects.values(), *WorkflowRun.objects.values(), *DeadLetterEntry.objects.values()]
    assert SECRET not in repr(rows)


def test_what_a_failing_status_says_comes_back(server: Server) -> None:
    server.answers.append(Answer(429, b"slow down", {"Retry-After": "120"}))
    with pytest.raises(CallFailed, match=r"answered 429 \(9 bytes\), retry after 120 s$") as failure:
        get(server.url)
    rebuilt = rebuild(describe(failure.value))
    assert isinstance(rebuilt, CallFailed)
    assert (rebuilt.status_code, rebuilt.size, rebuilt.retry_after) == (429, 9, 120)


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "x, y"}])
def test_a_failing_status_counts_whatever_its_body_is(server: Server, headers: dict[str, str]) -> None:
    server.answers.append(Answer(503, b"x" * 2_000_000, headers))
    with pytest.raises(CallFailed, match="answered 503") as failure:
        get(server.url)
    assert is_retryable(failure.value)


@pytest.mark.parametrize(
    "charset", ["rot13", "idna", "undefined", "punycode", "base64", "zlib", "hex", "unicode_escape", "utf-7", "mbcs",
                "no-such", "x" * 5000, "utf-8; charset=x", "\"utf-8\"", "..", "__main__", "big5\x01"]
)  # fmt: skip
def test_a_strange_charset_is_no_failure(server: Server, charset: str) -> None:
    server.answers.append(
        Answer(200, '{"name": "Zoë"}'.encode(), {"Content-Type": f"application/json; charset={charset}"})
    )
    assert get(server.url)["data"] == {"name": "Zoë"}


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("iso-8859-1", "Zoë"),
        ("windows-1252", "“x”"),
        ("shift_jis", "日本"),
        ("utf-16", "Zoë"),
        ("koi8-r", "да"),
        ("UTF8", "é"),
    ],
)
def test_a_charset_of_the_web_is_read(server: Server, charset: str, text: str) -> None:
    server.answers.append(Answer(200, text.encode(charset), {"Content-Type": f"text/plain; charset={charset}"}))
    assert get(server.url)["data"] == text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"a\x00b", "a\ufffdb"),
        (b'{"a": "\\u0000"}', '{"a": "\\u0000"}'),
        (b'["\\ud800"]', '["\\ud800"]'),
        (b"[" * 200 + b"]" * 200, "[" * 200 + "]" * 200),
        (b"[1e999]", "[1e999]"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"9" * 5_000, "9" * 5_000),
    ],
    ids=["NUL", "escaped NUL", "surrogate", "deep", "infinite", "BOM", "no UTF-8", "long number"],
)
def test_an_answer_that_cannot_be_recorded_as_it_is_is_no_failure(
    hookflow: Hookflow, server: Server, body: bytes, data: Any
) -> None:
    server.answers.append(Answer(200, body))

    @workflow(workflow_id="tests.odd_answers")
    def answered(ctx: WorkflowContext) -> Any:
        return ctx.step.call("call", server.url)["data"]

    assert hookflow.run(answered).result == data


LIMIT = 1024 * 1024


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'"packed"', mtime=0)),
        ("x-gzip", gzip.compress(b'"pac', mtime=0) + gzip.compress(b'ked"', mtime=0)),
        ("deflate", zlib.compress(b'"packed"')),
        ("deflate", zlib.compress(b'"packed"')[2:-4]),
        ("identity", b'"packed"'),
        ("GZIP , identity", gzip.compress(b'"packed"', mtime=0)),
    ],
)
def test_a_compressed_answer_is_read(server: Server, encoding: str, packed: bytes) -> None:
    server.answers.append(Answer(200, packed, {"Content-Encoding": encoding}))
    assert get(server.url)["data"] == "packed"


def test_an_empty_answer_is_read_whatever_its_encoding(server: Server) -> None:
    server.answers.append(Answer(200, b"", {"Content-Encoding": "br"}))
    assert get(server.url)["data"] is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_at_the_limit(server: Server, encoding: str) -> None:
    packed = (gzip if encoding == "gzip" else zlib).compress(b"\x00" * (64 * LIMIT))
    server.answers.append(Answer(200, packed, {"Content-Encoding": encoding}))
    with pytest.raises(exchange.ResponseTooLarge, match="more than 1,048,576 bytes"):
        get(server.url)


def test_decompressing_takes_work_linear_in_what_comes() -> None:
    """Thousands of members of no bytes, and one that would be a gigabyte."""

    def work(count: int) -> int:
        decoder = exchange._Decoder(["gzip"])
        data = gzip.compress(b"") * count
        parts = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        return count_calls(lambda: [decoder.decoded(part, LIMIT) for part in parts])

    assert work(20_000) < 6 * work(5_000)
    bomb = exchange._Decoder(["gzip"])
    assert sum(len(bomb.decoded(gzip.compress(b"\x00" * 10**8), most)) for most in (100,)) == 100


def test_the_body_of_a_redirect_is_not_read() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\n\r\n"
    with trickling(head, b"x") as server:
        with pytest.raises(requests.TooManyRedirects, match="failed: TooManyRedirects"):
            get(server.url, timeout=10)
        assert len(server.heads) == exchange.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (303, "POST", "GET"),
        (302, "POST", "GET"),
        (301, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "DELETE", "DELETE"),
    ],
)
def test_a_redirect_changes_the_method_as_http_says(server: Server, status: int, method: str, then: str) -> None:
    server.answers.append(Answer(status, headers={"Location": "/moved"}))
    get(server.url, method=method, body={"a": 1})
    first, second = server.received
    assert (first.method, second.method) == (method, then)
    assert json.loads(second.body or b"null") == (None if then == "GET" else {"a": 1})


def test_text_is_sent_as_utf_8(server: Server) -> None:
    get(server.url, method="POST", body="€")
    assert server.received[0].body == "€".encode()


def test_a_body_that_is_no_json_is_the_callers_error(server: Server) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        get(server.url, method="POST", body={"a": object()})
    assert server.received == []


DATE = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "9" * 100_000}, 86_400),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT", **DATE}, 60),
        ({"Retry-After": "Sun Nov  6 08:50:37 1994", **DATE}, 60),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT", **DATE}, 0),
        ({"Retry-After": "Sun, 06 Nov 2994 08:00:00 GMT", **DATE}, 86_400),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT", "Date": "today"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 +99999999", **DATE}, None),
        *(
            ({"Retry-After": value, **DATE}, None)
            for value in ("", "-1", "1.5", "٣", ",", ":" * 50, "a" * 100_000, "\x00")
        ),
    ],
)
def test_what_a_server_asks_to_wait_is_by_its_own_clock(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds
