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
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
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
#: What :func:`send` keeps of an answer, in bytes.
BEGINNING = 64 * 1024
_CHUNK = 64 * 1024
#: What a decoder is fed at once: what it leaves is copied, and a chunk may hold thousands of tiny gzip members.
_FED = 4096
_THREAD = "hookflow-call"

T = TypeVar("T")


class UnsafeRedirect(HookFlowException):
    """The answer redirects to another origin, where the request's credentials do not belong."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__(
            f"{named(url)} redirects to another origin, {named(urljoin(target, '/'))}: the redirect was not followed "
            "because the request headers may contain credentials; call that URL directly"
        )


class ResponseTooLarge(HookFlowException):
    """The answer has more bytes than DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(
            f"{named(url)} answered with more than {limit:,} bytes (DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE): fetch it in "
            "ctx.step.run, store it elsewhere and return a reference"
        )


class Answer(NamedTuple):
    """``content`` is the decompressed body, or its beginning.

    ``fetch`` keeps none of a failing status (400 or more): ``content`` is "" and only ``size``, in bytes, is known.
    """

    status: int
    headers: Mapping[str, str]
    encoding: str | None
    content: bytes
    size: int

    @property
    def text(self) -> str:
        """The content as UTF-8, with what is none replaced."""
        return self.content.decode("utf-8", "replace")


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
    session = Session()

    def exchange() -> Answer:
        with session:
            return _follow(session, asked, timeout, limit)

    return _in_time(exchange, session, asked, timeout)


def check(asked: Asked) -> None:
    """Raises, as :func:`fetch` would, for a request that cannot be sent to anybody."""
    try:
        requests.Request(asked.method, asked.url, headers=asked.headers, data=asked.body).prepare()
    except Exception as error:
        raise _reworded(error, asked) from None


def send(
    session: Session,
    asked: Asked,
    *,
    timeout: float,
    connect: float = CONNECT_TIMEOUT,
    proxies: Mapping[str, str | None] | None = None,
) -> Answer:
    """The status, and of the body at most the beginning, in time and with errors as :func:`fetch`; follows nothing.

    Once there is a status it counts, whatever becomes of the body: the other side has done what it says.
    """
    heads: list[requests.Response] = []
    content = bytearray()

    def exchange() -> None:
        with session.ask(asked, (min(connect, timeout), timeout), proxies) as response:
            if not session.is_cut:  # else the cut may be what ended its headers
                heads.append(response)
                _read_beginning(response, content)

    try:
        _in_time(exchange, session, asked, timeout)
    except Exception:
        if not heads:
            raise
    head, beginning = heads[0], bytes(content)
    return Answer(head.status_code, head.headers, head.encoding, beginning, len(beginning))


def _in_time(exchange: Callable[[], T], session: Session, asked: Asked, timeout: float) -> T:
    """What ``exchange`` returns or raises, reworded. If it is not over in time the session is cut off and of no use."""
    outcome: list[T] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            outcome.append(exchange())
        except BaseException as error:  # raised in the thread that waits
            failure.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name=_THREAD)
    thread.start()
    in_time = False
    try:
        in_time = done.wait(timeout)
    finally:
        if not in_time:  # what comes of it now has been cut short
            session.line.cut()
    if not in_time:
        kind = requests.ReadTimeout if session.connected else requests.ConnectTimeout
        doing = "was not over" if session.connected else "had no connection"
        raise kind(f"{asked} {doing} after the {round(timeout, 2):g} s it was given")
    if failure:
        raise _reworded(failure[0], asked)
    return outcome[0]


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
    """The socket of a session that is in use, to be cut off from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self.is_cut = False
        self.connected = False

    def watch(self, sock: socket.socket) -> None:
        """A handle of our own on the connection: TLS takes the socket apart, and closing what is read from hangs."""
        handle = socket.fromfd(sock.fileno(), sock.family, sock.type)
        self.close()
        with self._lock:
            self._handle = handle
            is_cut = self.is_cut
        if is_cut:
            self.cut()

    def cut(self) -> None:
        """Ends what is under way, and whatever the session begins after this."""
        with self._lock:
            self.is_cut = True
            if self._handle:
                with suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Lets go of the connection, which our handle alone would keep open. A forked parent's is left as it is."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle:
            handle.close()


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
        if kind.__name__ == "Watched":  # the pool has been here before
            return pool

        class Watched(kind):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> socket.socket:
                sock: socket.socket = super()._new_conn()
                line.watch(sock)
                return sock

            def connect(self) -> None:
                super().connect()
                line.connected = True

        pool.ConnectionCls = Watched
        return pool


class Session(requests.Session):
    """For one exchange at a time; its connections are used again. Useless once an exchange has been cut off."""

    def __init__(self, auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None) -> None:
        super().__init__()
        # Given in any case: for want of one, requests looks into ~/.netrc and replaces the header.
        self.auth = auth or _as_it_is
        self.headers["Accept-Encoding"] = "gzip, deflate"  # what is decoded here, whatever else is installed
        self.line = _Line()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self.line))
        weakref.finalize(self, self.line.close)

    @property
    def connected(self) -> bool:
        """Whether there was a connection, TLS included: without one nothing was sent."""
        return self.line.connected

    @property
    def is_cut(self) -> bool:
        return self.line.is_cut

    def ask(
        self, asked: Asked, times: tuple[float, float], proxies: Mapping[str, str | None] | None = None
    ) -> requests.Response:
        """A response whose body is not read and which may be a redirect."""
        prepared = self.prepare_request(
            requests.Request(asked.method, asked.url, headers=asked.headers, data=asked.body)
        )
        given: dict[str, Any] = dict(proxies or {})
        settings = self.merge_environment_settings(prepared.url or "", given, True, None, None)
        return self.send(prepared, timeout=times, allow_redirects=False, **settings)

    def close(self) -> None:
        super().close()
        self.line.close()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: redirects are followed by us, since requests reads the body of each to its end, however long it is."""
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


def _follow(session: Session, asked: Asked, timeout: float, limit: int) -> Answer:
    user, password = get_auth_from_url(asked.url)
    if (user or password) and "Authorization" not in asked.headers:
        session.auth = HTTPBasicAuth(user, password)
    for _ in range(MAX_REDIRECTS + 1):
        with session.ask(asked, (min(CONNECT_TIMEOUT, timeout), timeout)) as response:
            target = session.find_target(response)
            if target is None:
                return _read(response, limit)
            asked = _redirected(asked, target, response.status_code)
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
        raise requests.ConnectionError("the answer was truncated")
    return Answer(response.status_code, response.headers, response.encoding, bytes(content), size)


def _read_beginning(response: requests.Response, content: bytearray) -> None:
    """Adds at most BEGINNING bytes to ``content``; a short body is read to its end, and its connection used again."""
    decoder = _decoder(response)
    size = 0
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        size += len(chunk)
        for start in range(0, len(chunk), _FED):
            part = chunk[start : start + _FED]
            most = BEGINNING - len(content)
            content += decoder.decoded(part, most) if decoder else part[:most]
        if size >= BEGINNING or len(content) >= BEGINNING:
            break


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
            raise ContentDecodingError("the body does not match its Content-Encoding") from None
        return bytes(out)

    def _window(self, data: bytes) -> int:
        if self._names in (["gzip"], ["x-gzip"]):
            return 16 + zlib.MAX_WBITS
        if self._names == ["deflate"]:  # with zlib's header as the RFC has it, or without as some servers do
            return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
        raise ContentDecodingError("the body has an unsupported Content-Encoding")


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
