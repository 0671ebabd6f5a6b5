"""The peer itself, held against the official SDK from both sides, and against qstash.md where the SDK does not look."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Thread

import pytest
import requests
from qstash import QStash, Receiver
from qstash.errors import SignatureError

from tests.e2e.courier import Message, parse_duration, parse_retry_after
from tests.e2e.qstash_peer import CURRENT_KEY, NEXT_KEY, TOKEN, QStashPeer
from tests.waiting import wait_until

URL = "https://shop.example.com/hookflow/workflow/orders.process/"


class App:
    """Takes deliveries and answers with ``answers`` in turn, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.at_once: Barrier | None = None
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                app.received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                if app.at_once is not None:
                    app.at_once.wait(30)
                status, headers = app.answers.popleft() if app.answers else (200, {})
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Tests look at what was received, not at stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def app(peer: QStashPeer) -> Iterator[App]:
    app = App()
    thread = Thread(target=app.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    peer.courier.ports = [app.server.server_port]
    yield app
    app.server.shutdown()
    thread.join()
    app.server.server_close()


@pytest.fixture
def sdk(peer: QStashPeer) -> QStash:
    return QStash(TOKEN, base_url=peer.url, retry=False)


def test_a_message_of_the_sdk_arrives_signed_as_the_sdk_wants_it(peer: QStashPeer, app: App, sdk: QStash) -> None:
    answer = sdk.message.publish(url=URL, body='{"ümläut": 1}', content_type="application/json", retries=0)
    wait_until(lambda: app.received, "the delivery")
    [(path, headers, body)] = app.received
    assert path == "/hookflow/workflow/orders.process/"
    assert body == '{"ümläut": 1}'.encode()
    assert headers["host"] == "shop.example.com"
    assert headers["upstash-message-id"] == answer.message_id  # type: ignore[union-attr]
    assert headers["upstash-retried"] == "0"
    assert headers["user-agent"] == "Upstash-QStash"
    receiver = Receiver(CURRENT_KEY, NEXT_KEY)
    receiver.verify(signature=headers["upstash-signature"], body=body.decode(), url=URL)
    with pytest.raises(SignatureError):
        receiver.verify(signature=headers["upstash-signature"], body=body.decode(), url=URL.replace("https", "http"))
    with pytest.raises(SignatureError):
        receiver.verify(signature=headers["upstash-signature"], body="{}", url=URL)


def test_it_holds_back_and_deduplicates(peer: QStashPeer, app: App, sdk: QStash) -> None:
    started = time.monotonic()
    answers = [
        sdk.message.publish(url=URL, body="x", delay="1s", deduplication_id=name) for name in ("one", "one", "two")
    ]
    assert [answer.deduplicated for answer in answers] == [False, True, False]  # type: ignore[union-attr]
    assert answers[0].message_id == answers[1].message_id  # type: ignore[union-attr]
    wait_until(lambda: len(app.received) == 2, "both messages")
    assert time.monotonic() - started >= 1
    assert len(peer.published) == 2


def test_a_failed_delivery_is_repeated_when_the_answer_says(peer: QStashPeer, app: App, sdk: QStash) -> None:
    app.answers.extend([(503, {"Retry-After": "0"}), (500, {})])
    sdk.message.publish(url=URL, body="x", retries=2, retry_delay="10 * pow(2, retried)", headers={"X-Shop": "1"})
    wait_until(lambda: len(peer.courier.attempts) == 3, "three attempts")
    assert [attempt.status for attempt in peer.courier.attempts] == [503, 500, 200]
    assert [headers["upstash-retried"] for _, headers, _ in app.received] == ["0", "1", "2"]
    assert len({headers["upstash-message-id"] for _, headers, _ in app.received}) == 1
    assert {headers["x-shop"] for _, headers, _ in app.received} == {"1"}


@pytest.mark.parametrize(
    "answers", [[(489, {"Upstash-NonRetryable-Error": "true"})], [(500, {"Retry-After": "0"}), (500, {})]]
)
def test_what_cannot_be_delivered_ends_in_its_dlq(
    peer: QStashPeer, app: App, sdk: QStash, answers: list[tuple[int, dict[str, str]]]
) -> None:
    app.answers.extend(answers)
    sdk.message.publish(url=URL, body="x", retries=1)
    wait_until(lambda: peer.courier.dead, "the dead letter")
    assert len(app.received) == len(answers)


def test_copies_arrive_at_once(peer: QStashPeer, app: App, sdk: QStash) -> None:
    peer.courier.copies = 3
    app.at_once = Barrier(3)  # none is answered before all have arrived
    sdk.message.publish(url=URL, body="x")
    wait_until(lambda: len(peer.courier.attempts) == 3, "three copies")
    assert len({headers["upstash-message-id"] for _, headers, _ in app.received}) == 1
    assert not app.at_once.broken


def test_it_can_be_down_in_every_way_and_comes_back(peer: QStashPeer, app: App) -> None:
    def publish(timeout: float = 5) -> int:
        answer = requests.post(
            f"{peer.url}/v2/publish/{URL}", b"x", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=timeout
        )
        return answer.status_code

    peer.go_down(500)
    assert publish() == 500
    peer.come_back()
    peer.go_down("refuse")
    with pytest.raises(requests.ConnectionError):
        publish()
    peer.come_back()
    peer.go_down("hang")
    with pytest.raises(requests.ReadTimeout):
        publish(timeout=0.2)
    peer.come_back()
    assert not peer.published
    assert publish() == 201
    wait_until(lambda: app.received, "the delivery")


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        (URL, {"Authorization": "Bearer of somebody else"}, 401),
        (URL, {}, 401),
        ("shop.example.com/", {"Authorization": f"Bearer {TOKEN}"}, 400),
        (URL, {"Authorization": f"Bearer {TOKEN}", "Upstash-Delay": "soon"}, 400),
    ],
)
def test_it_refuses_what_qstash_refuses(peer: QStashPeer, url: str, headers: dict[str, str], status: int) -> None:
    answer = requests.post(f"{peer.url}/v2/publish/{url}", b"x", headers=headers, timeout=5)
    assert answer.status_code == status
    assert json.loads(answer.text)["error"]
    assert not peer.published


def test_times_are_read_as_documented() -> None:
    assert [parse_duration(text) for text in ("30s", "5m", "1d10h")] == [30, 300, 122_400]
    assert parse_retry_after("5") == 5
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    not_before = Message("msg_1", URL, {"upstash-not-before": str(int(time.time()) + 60), "upstash-delay": "1s"}, b"")
    assert 55 < not_before.delay() <= 60
    assert Message("msg_1", URL, {}, b"").pause_after(0) == pytest.approx(12.18, abs=0.01)
