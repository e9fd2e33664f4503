"""The client: what is sent again and what is not, and what is told."""

import asyncio
import json
import socket
import socketserver
import threading

import numpy as np
import pytest

import skysail
from skysail._http import Address


class Script(socketserver.ThreadingTCPServer):
    """A server that answers requests in turn by a list: bytes, or None to hang up."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "{}:{}".format(*self.server_address)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            lines = head.decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.server.requests.append((lines[0], headers, body))
            answer = self.server.answers.pop(0)
            if answer is None:
                return
            self.wfile.write(answer)


def answer(status, value, headers=""):
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


PREDICTION = {"query_id": 7, "output": 2, "default": False}


def sync(server, call, **options):
    with skysail.Client(server.address, server.address, **options) as client:
        return call(client)


def streams(server, call, **options):
    async def ask():
        async with skysail.AsyncClient(server.address, server.address, **options) as client:
            return await call(client)

    return asyncio.run(ask())


both = pytest.mark.parametrize("run", [sync, streams])


@both
def test_a_query_is_sent_again_where_nothing_was_done(run):
    later = answer(429, {"error": "shed"}, "Retry-After: 0\r\n")
    server = Script(later, None, answer(200, PREDICTION))
    found = run(server, lambda client: client.predict("app", np.arange(3), uid="u"))
    assert (found.output, found.default, found.query_id) == (2, False, 7)
    assert len(server.requests) == 3
    line, headers, body = server.requests[-1]
    assert line == "POST /app/predict HTTP/1.1"
    assert json.loads(body) == {"input": [0, 1, 2], "uid": "u"}


@both
def test_what_changes_something_is_sent_once(run):
    for call in (
        lambda client: client.feedback("app", [1], 2),
        lambda client: client.admin.remove_application("app"),
    ):
        server = Script(None, answer(200, {}))
        with pytest.raises(skysail.Unreachable):
            run(server, call)
        assert len(server.requests) == 1


@both
def test_a_connection_that_nobody_takes_is_tried_again_and_told(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*taken.getsockname())

        class Nobody:
            pass

        nobody = Nobody()
        nobody.address = address
        with pytest.raises(skysail.Unreachable, match=f"no answer from {address}"):
            run(nobody, lambda client: client.predict("app", [1]), retries=1)


@both
def test_an_answer_that_does_not_come_in_time_is_told(run):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        class Silent:
            address = "{}:{}".format(*silent.getsockname())

        with pytest.raises(skysail.Unreachable):
            run(Silent, lambda client: client.predict("app", [1]), timeout=0.3, retries=1)


@both
def test_refusals_of_every_api_are_told_in_one_form(run):
    for value, kind, field in [
        ({"error": {"kind": "not_found", "message": "none", "field": "name"}}, "not_found", "name"),
        ({"error": "none", "code": "NOT_FOUND"}, "NOT_FOUND", None),
        ({"error": "Request error", "cause": "none", "field": "input"}, None, "input"),
    ]:
        with pytest.raises(skysail.ApiError, match="none") as error:
            run(Script(answer(404, value)), lambda client: client.predict("app", [1]))
        assert (error.value.status, error.value.kind, error.value.field) == (404, kind, field)
    plain = Script(b"HTTP/1.1 400 X\r\nContent-Length: 9\r\n\r\nnot taken")
    with pytest.raises(skysail.ApiError, match=r"not taken \(400\)"):
        run(plain, lambda client: client.feedback("app", [1], 2))


@both
def test_the_token_is_sent_and_chunks_are_read(run):
    body = json.dumps(PREDICTION).encode()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:5], body[5:], b""))
    server = Script(head + chunks)
    found = run(server, lambda client: client.predict("a/b", "text"), token="secret")
    assert found.output == 2
    line, headers, _ = server.requests[0]
    assert line.startswith("POST /a%2Fb/predict ")
    assert headers["authorization"] == "bearer secret"


@both
def test_a_kept_connection_that_was_closed_costs_no_retry(run):
    first = answer(200, PREDICTION)
    server = Script(first, None, answer(200, PREDICTION))

    async def twice(client):
        await client.predict("app", [1])
        return await client.predict("app", [1])

    def again(client):
        client.predict("app", [1])
        return client.predict("app", [1])

    found = run(server, again if run is sync else twice, retries=0)
    assert found.output == 2 and len(server.requests) == 3


def test_addresses_are_read_in_every_form():
    assert Address.parse("localhost:1", None)[:2] == ("localhost", 1)
    assert Address.parse("https://example.org", None)[:2] == ("example.org", 443)
    assert Address.parse("https://example.org:8443", None).tls is not None
    with pytest.raises(ValueError, match="is no address"):
        Address.parse("ftp://x", None)
    with pytest.raises(skysail.Unreachable, match="start skysail serve"):
        skysail.Client(data_dir="/no/such/place")


def test_applications_and_models_are_administered(front):
    admin = front.client.admin
    admin.add_model("spare", "1", "doubles", labels=["a"])
    admin.add_model("spare", "2", "doubles")
    assert admin.model("spare")["current"] == "2"
    admin.set_version("spare", "1")
    admin.rollback("spare")
    assert admin.model("spare")["current"] == "2"
    admin.add_application("spare", "doubles", default_output="0", slo_seconds=0.5, link="spare")
    found = admin.application("spare")
    assert (found["latency_slo_micros"], found["linked_models"]) == (500_000, ["spare"])
    admin.unlink("spare", "spare")
    admin.link("spare", "spare")
    assert front.client.feedback("spare", [1.0], 2.0) is False
    answer = front.client.predict("spare", np.array([1.0, 2.0]), timeout=0.05)
    assert (answer.default, answer.default_cause, answer.output) == (True, "no_replica", 0)
    with pytest.raises(skysail.ApiError) as error:
        admin.add_application("spare", "doubles")
    assert (error.value.status, error.value.kind) == (409, "already_exists")
    admin.remove_application("spare")
    admin.remove_model("spare", "1")
    admin.remove_model("spare")
    assert "spare" not in [model["name"] for model in admin.models()]
    assert "spare" not in [application["name"] for application in admin.applications()]


def test_arrays_that_no_model_takes_are_refused_here(front):
    with pytest.raises(skysail.ApiError) as error:
        front.client.infer("no-such-model", x=np.ones((1, 2)))
    assert error.value.status == 404
    with pytest.raises(TypeError, match="input 'x' is complex128"):
        skysail._wire.encode("x", np.ones(2, complex), None)
    with pytest.raises(TypeError, match=r"convert it with .astype\(np.int32\)"):
        skysail._wire.encode("x", np.ones(2), "INT32")
    with pytest.raises(TypeError, match="has a int, expected str or bytes"):
        skysail._wire.encode("x", np.array([1], object), "BYTES")


def test_inputs_are_sent_as_they_are_or_refused():
    encode = skysail._wire.encode
    counted = b"\5\0\0\0abc\0\0" + b"\1\0\0\0x"
    assert encode("x", [b"abc\0\0", b"x"], "BYTES")[2] == counted
    assert encode("x", ["abc\0\0", "x"], None)[2] == counted
    assert encode("x", [1, 2], "UINT8")[2] == b"\1\2"
    assert encode("x", [[], []], "INT32")[0].shape == (2, 0)
    with pytest.raises(ValueError, match="input 'x' has 300 to 300, which INT8 cannot hold"):
        encode("x", [300], "INT8")
    with pytest.raises(ValueError, match="which UINT16 cannot hold"):
        encode("x", [-1], "UINT16")
    with pytest.raises(TypeError, match="numpy has no bf16"):
        encode("x", [1.0], "BF16")
