"""Requests to a front end and their answers, and who carries them: threads or asyncio."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import ssl
import threading
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

#: The first wait before a request is sent again.
WAIT_SECONDS = 0.05
#: Statuses that say that the same request may succeed a little later.
LATER = (429, 503)


class Unreachable(Exception):
    """No answer came: nobody listens there, the connection broke, or the time was over."""


class ApiError(Exception):
    """The front end refused a request.

    >>> error = ApiError(404, "not_found", "no application is called 'x'", None)
    >>> str(error), error.status, error.kind
    ("no application is called 'x' (404)", 404, 'not_found')
    """

    #: HTTP status.
    status: int
    #: What went wrong, in one word, where the front end says it.
    kind: Optional[str]
    #: The field of the request that is to blame, if one is.
    field: Optional[str]

    def __init__(
        self, status: int, kind: Optional[str], message: str, field: Optional[str]
    ) -> None:
        blamed = f" ({field})" if field else ""
        super().__init__(f"{message}{blamed} ({status})")
        self.status = status
        self.kind = kind
        self.field = field


class Request(NamedTuple):
    """One request to one of the two ports."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = {}
    #: Whether sending it twice does what sending it once does.
    is_safe: bool = True


class Response(NamedTuple):
    """Its answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def check(self) -> "Response":
        """Itself, or ApiError if it is a refusal, in any of the front end's forms."""
        if self.status < 400:
            return self
        text = self.body.decode(errors="replace").strip()
        kind: Optional[str] = None
        field: Optional[str] = None
        message = text or http.client.responses.get(self.status, "refused")
        try:
            told = json.loads(text)
        except ValueError:
            told = None
        if isinstance(told, dict):
            error = told.get("error")
            if isinstance(error, dict):
                kind, field = error.get("kind"), error.get("field")
                message = error.get("message") or message
            elif isinstance(error, str):
                kind = told.get("code") if isinstance(told.get("code"), str) else None
                field = told.get("field")
                message = told.get("cause") or error
        raise ApiError(self.status, kind, message, field)


class Retries:
    """When to send a request again."""

    def __init__(self, count: int, timeout: float) -> None:
        self.left = count
        self.wait = WAIT_SECONDS
        self.end = time.monotonic() + timeout

    def remaining(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise Unreachable("no answer in time")
        return left

    def after(self, response: Response, request: Request) -> Optional[float]:
        """Seconds to wait after an answer, or None if it is final."""
        if response.status not in LATER or not request.is_safe:
            return None
        try:
            asked = float(response.headers.get("retry-after", 0))
        except ValueError:
            asked = 0.0
        return self._next(asked)

    def after_loss(self, request: Request, was_sent: bool) -> Optional[float]:
        """Seconds to wait after a connection failed."""
        return self._next(0.0) if request.is_safe or not was_sent else None

    def _next(self, at_least: float) -> Optional[float]:
        if self.left == 0:
            return None
        self.left -= 1
        wait = max(at_least, self.wait) * random.uniform(0.5, 1.0) + at_least / 2
        self.wait *= 2
        return wait if time.monotonic() + wait < self.end else None


class Address(NamedTuple):
    """Where a port is."""

    host: str
    port: int
    tls: Optional[ssl.SSLContext]

    @staticmethod
    def parse(text: str, context: Optional[ssl.SSLContext]) -> "Address":
        """``host:port``, ``http://host:port`` or ``https://host:port``."""
        url = urlsplit(text if "://" in text else f"http://{text}")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"'{text}' is no address, expected one like 127.0.0.1:1337")
        if url.scheme == "https" and context is None:
            context = ssl.create_default_context()
        tls = context if url.scheme == "https" or "://" not in text else None
        return Address(url.hostname, url.port or (443 if tls else 80), tls)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Threaded:
    """Carries requests on the calling thread; each thread has a connection of its own."""

    def __init__(self, headers: Dict[str, str], timeout: float, retries: int) -> None:
        self.headers = headers
        self.timeout = timeout
        self.retries = retries
        self.local = threading.local()

    def send(self, address: Address, request: Request, timeout: Optional[float]) -> Response:
        retries = Retries(self.retries, self.timeout if timeout is None else timeout)
        while True:
            was_sent = False
            is_new = True
            try:
                connection, is_new = self._connection(address, retries.remaining())
                was_sent = True
                response = self._exchange(connection, request)
                wait = retries.after(response, request)
                if wait is None:
                    return response
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection that was closed meanwhile says nothing about the front end.
                stale = not is_new and request.is_safe
                wait = 0.0 if stale else retries.after_loss(request, was_sent)
                if wait is None:
                    raise Unreachable(f"no answer from {address}: {error}") from error
            time.sleep(wait)

    def _connection(self, address: Address, timeout: float) -> Tuple[Any, bool]:
        pool = self.local.__dict__.setdefault("pool", {})
        connection = pool.get(address)
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(timeout)
            return connection, False
        if address.tls is not None:
            connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=timeout, context=address.tls
            )
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
        connection.connect()
        pool[address] = connection
        return connection, True

    def _exchange(self, connection: Any, request: Request) -> Response:
        headers = {**self.headers, **request.headers}
        connection.request(request.method, request.path, request.body or None, headers)
        answer = connection.getresponse()
        body = answer.read()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)

    def close(self) -> None:
        for connection in self.local.__dict__.pop("pool", {}).values():
            connection.close()


class Streams:
    """Carries requests in asyncio; connections are used again, one request at a time each."""

    def __init__(self, headers: Dict[str, str], timeout: float, retries: int) -> None:
        self.headers = headers
        self.timeout = timeout
        self.retries = retries
        self.idle: Dict[Address, List[tuple]] = {}

    async def send(self, address: Address, request: Request, timeout: Optional[float]) -> Response:
        retries = Retries(self.retries, self.timeout if timeout is None else timeout)
        while True:
            was_sent = False
            stream: Optional[tuple] = None
            is_new = True
            try:
                idle = self.idle.get(address)
                if idle:
                    stream, is_new = idle.pop(), False
                else:
                    opening = asyncio.open_connection(address.host, address.port, ssl=address.tls)
                    stream = await asyncio.wait_for(opening, retries.remaining())
                was_sent = True
                response = await asyncio.wait_for(
                    self._exchange(stream, address, request), retries.remaining()
                )
                if response.headers.get("connection", "").lower() == "close":
                    stream[1].close()
                else:
                    self.idle.setdefault(address, []).append(stream)
                stream = None
                wait = retries.after(response, request)
                if wait is None:
                    return response
            except asyncio.TimeoutError as error:
                raise Unreachable(f"no answer from {address} in time") from error
            except (OSError, EOFError, ValueError) as error:
                stale = not is_new and request.is_safe
                wait = 0.0 if stale else retries.after_loss(request, was_sent)
                if wait is None:
                    raise Unreachable(f"no answer from {address}: {error}") from error
            finally:
                if stream is not None:
                    stream[1].close()
            await asyncio.sleep(wait)

    async def _exchange(self, stream: tuple, address: Address, request: Request) -> Response:
        reader, writer = stream
        headers = {
            "Host": str(address),
            "Content-Length": str(len(request.body)),
            **self.headers,
            **request.headers,
        }
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
        await writer.drain()
        status = (await reader.readuntil(b"\r\n")).split(None, 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            raise ValueError("the answer is not HTTP")
        found: Dict[str, str] = {}
        while True:
            line = (await reader.readuntil(b"\r\n")).strip().decode("latin-1")
            if not line:
                break
            name, _, value = line.partition(":")
            found[name.strip().lower()] = value.strip()
        return Response(int(status[1]), found, await self._body(reader, found))

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            body += await reader.readexactly(size)
            await reader.readuntil(b"\r\n")
            if size == 0:
                return body

    async def close(self) -> None:
        for streams in self.idle.values():
            for _, writer in streams:
                writer.close()
        self.idle.clear()
