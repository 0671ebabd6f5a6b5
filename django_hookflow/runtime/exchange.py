"""One HTTP request and its answer, within a time, a size and an origin, whatever the other side does.

The exchange runs in a thread of its own and is cut off when its time is up: a timeout of requests covers one address or
one read, so that a server which sends a byte each second, a name that resolves to ten dead addresses or a resolver that
does not answer hold it for as long as they like. Errors are raised anew, because those of requests and urllib3 quote the
URL with its query, headers and pieces of the answer.
"""

from __future__ import annotations

import contextvars
import logging
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.exceptions import ContentDecodingError
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError, ReadTimeoutError

from django_hookflow.exceptions import HookFlowException

CONNECT_TIMEOUT = 10.0
MAX_REDIRECTS = 5
_CHUNK = 64 * 1024
#: What a decoder is fed at once: what it leaves is copied, and a chunk may hold thousands of tiny gzip members.
_FED = 4096
_THREAD = "hookflow-call"


class UnsafeRedirect(HookFlowException):
    """The answer redirects to another origin, where the request's credentials do not belong."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__(
            f"{named(url)} redirects to another origin, {named(urljoin(target, '/'))}: it is not followed, because the "
            f"request's headers may hold credentials; call that URL itself"
        )


class ResponseTooLarge(HookFlowException):
    """The answer has more bytes than DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(
            f"{named(url)} answered with more than {limit:,} bytes (DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE): "
            f"fetch it in a step.run that stores it elsewhere and returns a reference"
        )


class Answer(NamedTuple):
    """``content`` is the decompressed body; of a failing status (400 or more) it is "" and only ``size``, in bytes, is known."""

    status: int
    headers: Mapping[str, str]
    encoding: str | None
    content: bytes
    size: int


class Asked(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    def __str__(self) -> str:
        return f"{self.method} {named(self.url)}"


def fetch(asked: Asked, *, timeout: float, limit: int) -> Answer:
    """The answer, after at most ``timeout`` seconds with everything: resolving, connecting, redirects, headers and body.

    Follows redirects within the origin. Raises UnsafeRedirect for others, ResponseTooLarge for a body of more than
    ``limit`` bytes, decompressed; else a class of requests or Python, such as ``requests.ReadTimeout``, with a text that
    has nothing of the query, of headers or of the answer.
    """
    line = _Line()
    outcome: list[Answer | BaseException] = []
    done = threading.Event()

    def exchange() -> None:
        try:
            outcome.append(_exchange(asked, line, timeout, limit))
        except BaseException as error:  # raised in the thread that waits
            outcome.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(exchange,), daemon=True, name=_THREAD)
    thread.start()
    in_time = False
    try:
        in_time = done.wait(timeout)
    finally:
        connected = line.cut()
    result = outcome[0] if in_time else None  # what comes of it now has been cut short
    if isinstance(result, Answer):
        return result
    if result is None:
        kind = requests.ReadTimeout if connected else requests.ConnectTimeout
        doing = "was not over" if connected else "had no connection"
        raise kind(f"{asked} {doing} after the {timeout:g} s it was given")
    raise _reworded(result, asked)


def named(url: str) -> str:
    """A URL fit for a message: no query, no user and password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be read)"
    if not parts.scheme or not parts.hostname:
        return "(a URL without scheme or host)"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}"


class _Line:
    """The sockets of one exchange, to be cut off from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def watch(self, sock: socket.socket) -> None:
        """A handle of our own on the connection: TLS takes the socket apart, and closing what is read from hangs."""
        handle = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            self._sockets.append(handle)
            is_cut = self._is_cut
        if is_cut:
            self.cut()

    def cut(self) -> bool:
        """Ends the exchange if it is not over; whether it had a connection."""
        with self._lock:
            self._is_cut = True
        return self.hang_up()

    def hang_up(self) -> bool:
        """Ends the connections there are, which our handles alone would keep open."""
        with self._lock:
            handles, self._sockets = self._sockets, []
        for handle in handles:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()
        return bool(handles)


class _Adapter(HTTPAdapter):
    def __init__(self, line: _Line) -> None:
        self._line = line
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return self._watched(super().get_connection_with_tls_context(*args, **kwargs))

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:  # what requests calls before 2.32
        return self._watched(super().get_connection(*args, **kwargs))

    def _watched(self, pool: Any) -> Any:
        line, kind = self._line, pool.ConnectionCls
        if kind.__name__ == "Watched":  # the pool has been here, before a redirect
            return pool

        class Watched(kind):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> socket.socket:
                sock: socket.socket = super()._new_conn()
                line.watch(sock)
                return sock

        pool.ConnectionCls = Watched
        return pool


class _Session(requests.Session):
    """Redirects are followed by us: requests reads the body of each to its end, however long it is."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def find_target(self, response: requests.Response) -> str | None:
        """The URL an answer redirects to, if it does. Raises UnsafeRedirect if that is of another origin."""
        location = super().get_redirect_target(response)
        if location is None:
            return None
        target = urljoin(response.url, location)
        if _origin(target) != _origin(response.url):
            raise UnsafeRedirect(response.url, target)
        return target


def _exchange(asked: Asked, line: _Line, timeout: float, limit: int) -> Answer:
    user, password = get_auth_from_url(asked.url)
    with _Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(line))
        # Given in any case: for want of one, requests looks into ~/.netrc and replaces the header.
        has_user = (user or password) and "Authorization" not in asked.headers
        session.auth = HTTPBasicAuth(user, password) if has_user else _as_it_is
        for _ in range(MAX_REDIRECTS + 1):
            prepared = session.prepare_request(
                requests.Request(asked.method, asked.url, headers=asked.headers, data=asked.body)
            )
            settings = session.merge_environment_settings(prepared.url or "", {}, True, None, None)
            times = (min(CONNECT_TIMEOUT, timeout), timeout)
            with session.send(prepared, timeout=times, allow_redirects=False, **settings) as response:
                target = session.find_target(response)
                if target is None:
                    return _read(response, limit)
                asked = _redirected(asked, target, response.status_code)
            line.hang_up()
    raise requests.TooManyRedirects(f"more than {MAX_REDIRECTS} redirects")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _redirected(asked: Asked, target: str, status: int) -> Asked:
    """What is asked next, as RFC 9110 §15.4 has it: after 303, and after the old ways to answer a POST, a GET."""
    if not (status == 303 and asked.method != "HEAD") and not (status in (301, 302) and asked.method == "POST"):
        return Asked(asked.method, target, asked.headers, asked.body)
    headers = {name: value for name, value in asked.headers.items() if not name.lower().startswith("content-")}
    return Asked("GET", target, headers, None)


def _read(response: requests.Response, limit: int) -> Answer:
    size, content = 0, bytearray()
    failed = response.status_code >= 400  # then nothing is made of the body, and nothing that is wrong with it matters
    decoder = None if failed else _decoder(response)
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        size += len(chunk)
        if size > limit and failed:
            break
        for start in range(0, 0 if failed else len(chunk), _FED):
            part = chunk[start : start + _FED]
            content += decoder.decoded(part, limit + 1 - len(content)) if decoder else part
            if len(content) > limit or size > limit:
                raise ResponseTooLarge(response.url, limit)
    if not failed and getattr(response.raw, "length_remaining", None):  # urllib3 before 2 leaves it at that
        raise requests.ConnectionError("the answer has ended before its end")
    return Answer(response.status_code, response.headers, response.encoding, bytes(content), size)


def _decoder(response: requests.Response) -> _Decoder | None:
    names = [name.strip().lower() for name in response.headers.get("Content-Encoding", "").split(",")]
    names = [name for name in names if name not in ("", "identity")]
    return _Decoder(names) if names else None


class _Decoder:
    """Decompresses a stream, each time no further than is wanted: a bomb gets no further than the limit."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._inflating: Any = None

    def decoded(self, data: bytes, most: int) -> bytes:
        """At most ``most`` bytes of what ``data`` continues; the rest is dropped, since so much is too much."""
        out = bytearray()
        try:
            while data and len(out) < most:
                if self._inflating is None or self._inflating.eof:  # gzip may have several members
                    self._inflating = zlib.decompressobj(self._window(data))
                out += self._inflating.decompress(data, most - len(out))
                data = self._inflating.unconsumed_tail or self._inflating.unused_data
        except zlib.error:
            raise ContentDecodingError("the body is not what its Content-Encoding says") from None
        return bytes(out)

    def _window(self, data: bytes) -> int:
        if self._names in (["gzip"], ["x-gzip"]):
            return 16 + zlib.MAX_WBITS
        if self._names == ["deflate"]:  # with zlib's header as the RFC has it, or without as some servers do
            return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
        raise ContentDecodingError("the body has a Content-Encoding that was not asked for")


def _reworded(error: BaseException, asked: Asked) -> BaseException:
    """An error of the same family whose text is ours."""
    if isinstance(error, HookFlowException) or not isinstance(error, Exception):
        return error
    names = dict.fromkeys([type(error).__name__, *_reasons(error)])
    text = f"{asked} failed: {', '.join(names)}"
    for kind in _families(error):
        with suppress(Exception):  # a UnicodeError of two kinds wants more than a text
            reworded: Exception = kind(text)
            if str(reworded) == text:
                return reworded
    return requests.RequestException(text)


def _families(error: Exception) -> Iterator[type[Exception]]:
    for kind in type(error).__mro__:
        if kind.__module__ in ("builtins", "requests.exceptions") and kind not in (Exception, BaseException, object):
            yield kind
    if isinstance(error, ReadTimeoutError):
        yield requests.ReadTimeout
    if isinstance(error, HTTPError):  # of urllib3, while the body was read
        yield requests.ConnectionError


def _reasons(error: BaseException | None) -> Iterator[str]:
    """The class of what is at the bottom of an error, and what the operating system or OpenSSL says of it."""
    for _ in range(10):
        inner = [getattr(error, "reason", None), *getattr(error, "args", ()), getattr(error, "__cause__", None)]
        found = next((each for each in inner if isinstance(each, BaseException)), None)
        if found is None:
            break
        error = found
    yield type(error).__name__
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.strerror:
        yield error.strerror


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _is_of_others(record: logging.LogRecord) -> bool:
    return record.threadName != _THREAD


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_is_of_others)  # they log URLs with their query, also as warnings
