"""Predictions, feedback and administration, from a thread or from asyncio.

>>> from skysail import Client
>>> with Client() as client:                                             # doctest: +SKIP
...     print(client.predict("digits", image).output)                    # Clipper's way
...     print(client.infer("digits-mlp", x=images)["digit"])             # arrays in and out
...     print(client.admin.status()["version"])
"""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from ._http import Address, ApiError, Request, Response, Streams, Threaded, Unreachable
from ._wire import (
    Inference,
    Prediction,
    infer_request,
    options,
    plain,
    post,
    read_inference,
    segment,
)

__all__ = [
    "Admin",
    "ApiError",
    "AsyncClient",
    "Client",
    "Inference",
    "Prediction",
    "Unreachable",
]

QUERY = "127.0.0.1:1337"
MANAGEMENT = "127.0.0.1:1338"


class _Ports(NamedTuple):
    query: Address
    management: Address
    headers: Dict[str, str]


def _ports(
    query: Optional[str],
    management: Optional[str],
    data_dir: Union[str, Path, None],
    token: Optional[str],
    tls: Optional[ssl.SSLContext],
) -> _Ports:
    found: Mapping[str, Any] = {}
    if data_dir is not None:
        path = Path(data_dir) / "endpoints.json"
        try:
            found = json.loads(path.read_text())
        except OSError as error:
            raise Unreachable(
                f"no front end runs on {data_dir}: {path} is not there; start skysail serve"
            ) from error
    scheme = "https://" if found.get("tls") else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return _Ports(
        Address.parse(query or scheme + found.get("query", QUERY), tls),
        Address.parse(management or scheme + found.get("management", MANAGEMENT), tls),
        headers,
    )


def _predict(application: str, body: Dict[str, Any]) -> Request:
    return post(f"/{segment(application)}/predict", body)


def _query_options(
    version: Optional[str],
    timeout: Optional[float],
    priority: Optional[int],
    cache: Optional[bool],
    explain: Optional[bool],
    uid: Optional[str],
) -> Dict[str, Any]:
    micros = None if timeout is None else max(1, round(timeout * 1e6))
    return options(
        version=version,
        timeout_micros=micros,
        priority=priority,
        cache=cache,
        explain=explain,
        uid=uid,
    )


def _parameters(
    timeout: Optional[float],
    priority: Optional[int],
    cache: Optional[bool],
    uid: Optional[str],
) -> Dict[str, Any]:
    micros = None if timeout is None else max(1, round(timeout * 1e6))
    return options(timeout=micros, priority=priority, skysail_cache=cache, skysail_uid=uid)


def _update(application: str, input: Any, label: Any, uid: int) -> Request:
    body = {"uid": uid, "input": plain(input), "label": label}
    return post(f"/{segment(application)}/update", body, is_safe=False)


def _is_received(response: Response) -> bool:
    return response.check().body.strip().endswith(b"1")


def _model_path(model: str, version: Optional[str]) -> str:
    path = f"/v2/models/{segment(model)}"
    return path if version is None else f"{path}/versions/{segment(version)}"


def _datatypes(response: Response) -> Dict[str, str]:
    inputs = response.check().json().get("inputs", [])
    return {tensor["name"]: tensor["datatype"] for tensor in inputs}


class Client:
    """A front end, asked from threads.

    ``query`` and ``management`` are its ports (``host:port``, or ``https://host:port``), by
    default those of this machine; ``data_dir`` finds them by the front end's directory. ``token``
    is sent as a bearer token, ``tls`` says whom to trust. A request takes at most ``timeout``
    seconds. What failed in a way that did nothing (nobody listened, a shed query, a connection
    that broke before the answer to a query) is sent again up to ``retries`` times, after jittered
    waits. Threads may share a client.
    """

    def __init__(
        self,
        query: Optional[str] = None,
        management: Optional[str] = None,
        *,
        data_dir: Union[str, Path, None] = None,
        token: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        self._ports = _ports(query, management, data_dir, token, tls)
        self._carrier = Threaded(self._ports.headers, timeout, retries)
        self._metadata: Dict[Tuple[str, Optional[str]], Dict[str, str]] = {}
        #: The management API.
        self.admin = Admin(self._manage)

    def predict(
        self,
        application: str,
        input: Any,
        *,
        version: Optional[str] = None,
        timeout: Optional[float] = None,
        priority: Optional[int] = None,
        cache: Optional[bool] = None,
        explain: Optional[bool] = None,
        uid: Optional[str] = None,
    ) -> Prediction:
        """Asks an application one query: numbers as an array or a list, a ``str``, or ``bytes``.

        ``timeout`` (seconds) asks for an answer sooner than the application's objective,
        ``cache=False`` for one computed anew. Without a prediction in time the answer is the
        application's default, with its cause.
        """
        more = _query_options(version, timeout, priority, cache, explain, uid)
        request = _predict(application, {"input": plain(input), **more})
        return Prediction.read(self._ask(request).check().json())

    def predict_batch(
        self, application: str, inputs: Sequence[Any], **options: Any
    ) -> List[Prediction]:
        """Asks an application up to 1,024 queries at once; options as of :meth:`predict`."""
        if len(inputs) == 1:
            return [self.predict(application, inputs[0], **options)]
        more = _query_options(**{**_NONE, **options})
        request = _predict(application, {"input_batch": [plain(i) for i in inputs], **more})
        answers = self._ask(request).check().json()["batch_predictions"]
        return [Prediction.read(answer) for answer in answers]

    def infer(
        self,
        model: str,
        *,
        model_version: Optional[str] = None,
        deadline: Optional[float] = None,
        priority: Optional[int] = None,
        cache: Optional[bool] = None,
        uid: Optional[str] = None,
        **inputs: Any,
    ) -> Inference:
        """Asks a model, or an application by its model, for some rows at once.

        Each input is an array of shape ``[rows, ...]``; numbers become the model's datatype. The
        data travel in binary form both ways. ``deadline`` is in seconds.
        """
        known = self._datatypes(model, model_version)
        path = f"{_model_path(model, model_version)}/infer"
        more = _parameters(deadline, priority, cache, uid)
        return read_inference(self._ask(infer_request(path, inputs, known, more)).check())

    def feedback(self, application: str, input: Any, label: Any, uid: int = 0) -> bool:
        """Tells the label that an input had; whether it was taken. Never sent twice."""
        return _is_received(self._ask(_update(application, input, label, uid)))

    def is_ready(self, model: Optional[str] = None) -> bool:
        """Whether the front end, or a model of it, answers predictions now."""
        path = "/v2/health/ready" if model is None else f"{_model_path(model, None)}/ready"
        try:
            return self._ask(Request("GET", path, is_safe=False)).status == 200
        except Unreachable:
            return False

    def metadata(self, model: str, version: Optional[str] = None) -> Dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors."""
        return self._ask(Request("GET", _model_path(model, version))).check().json()

    def _datatypes(self, model: str, version: Optional[str]) -> Dict[str, str]:
        key = (model, version)
        if key not in self._metadata:
            self._metadata[key] = _datatypes(self._ask(Request("GET", _model_path(*key))))
        return self._metadata[key]

    def _ask(self, request: Request, timeout: Optional[float] = None) -> Response:
        return self._carrier.send(self._ports.query, request, timeout)

    def _manage(self, request: Request) -> Any:
        return _read(self._carrier.send(self._ports.management, request, None))

    def close(self) -> None:
        """Closes this thread's connections."""
        self._carrier.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


class AsyncClient:
    """A front end, asked from asyncio. Everything is as in :class:`Client`, to be awaited;
    requests that run at the same time use connections of their own."""

    def __init__(
        self,
        query: Optional[str] = None,
        management: Optional[str] = None,
        *,
        data_dir: Union[str, Path, None] = None,
        token: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        timeout: float = 10.0,
        retries: int = 3,
    ) -> None:
        self._ports = _ports(query, management, data_dir, token, tls)
        self._carrier = Streams(self._ports.headers, timeout, retries)
        self._metadata: Dict[Tuple[str, Optional[str]], Dict[str, str]] = {}
        #: The management API; its methods are to be awaited.
        self.admin = Admin(self._manage)

    async def predict(
        self,
        application: str,
        input: Any,
        *,
        version: Optional[str] = None,
        timeout: Optional[float] = None,
        priority: Optional[int] = None,
        cache: Optional[bool] = None,
        explain: Optional[bool] = None,
        uid: Optional[str] = None,
    ) -> Prediction:
        """See :meth:`Client.predict`."""
        more = _query_options(version, timeout, priority, cache, explain, uid)
        request = _predict(application, {"input": plain(input), **more})
        return Prediction.read((await self._ask(request)).check().json())

    async def predict_batch(
        self, application: str, inputs: Sequence[Any], **options: Any
    ) -> List[Prediction]:
        """See :meth:`Client.predict_batch`."""
        if len(inputs) == 1:
            return [await self.predict(application, inputs[0], **options)]
        more = _query_options(**{**_NONE, **options})
        request = _predict(application, {"input_batch": [plain(i) for i in inputs], **more})
        answers = (await self._ask(request)).check().json()["batch_predictions"]
        return [Prediction.read(answer) for answer in answers]

    async def infer(
        self,
        model: str,
        *,
        model_version: Optional[str] = None,
        deadline: Optional[float] = None,
        priority: Optional[int] = None,
        cache: Optional[bool] = None,
        uid: Optional[str] = None,
        **inputs: Any,
    ) -> Inference:
        """See :meth:`Client.infer`."""
        key = (model, model_version)
        if key not in self._metadata:
            self._metadata[key] = _datatypes(await self._ask(Request("GET", _model_path(*key))))
        path = f"{_model_path(model, model_version)}/infer"
        more = _parameters(deadline, priority, cache, uid)
        request = infer_request(path, inputs, self._metadata[key], more)
        return read_inference((await self._ask(request)).check())

    async def feedback(self, application: str, input: Any, label: Any, uid: int = 0) -> bool:
        """See :meth:`Client.feedback`."""
        return _is_received(await self._ask(_update(application, input, label, uid)))

    async def is_ready(self, model: Optional[str] = None) -> bool:
        """See :meth:`Client.is_ready`."""
        path = "/v2/health/ready" if model is None else f"{_model_path(model, None)}/ready"
        try:
            return (await self._ask(Request("GET", path, is_safe=False))).status == 200
        except Unreachable:
            return False

    async def metadata(self, model: str, version: Optional[str] = None) -> Dict[str, Any]:
        """See :meth:`Client.metadata`."""
        return (await self._ask(Request("GET", _model_path(model, version)))).check().json()

    async def _ask(self, request: Request) -> Response:
        return await self._carrier.send(self._ports.query, request, None)

    async def _manage(self, request: Request) -> Any:
        return _read(await self._carrier.send(self._ports.management, request, None))

    async def close(self) -> None:
        """Closes the connections that are not in use."""
        await self._carrier.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()


_NONE: Dict[str, Any] = dict.fromkeys(
    ("version", "timeout", "priority", "cache", "explain", "uid")
)


def _read(response: Response) -> Any:
    response.check()
    return response.json() if response.body else None


class Admin:
    """The management API of a front end: ``client.admin``. Of an :class:`AsyncClient` each method
    gives something to await.

    What a method that changes something returns is done durably, and queries see it. It is not
    sent twice: where no answer came, look before doing it again.
    """

    def __init__(self, send: Any) -> None:
        self._send = send

    def status(self) -> Any:
        """Addresses, applications, and versions with their replicas."""
        return self._get("status")

    def applications(self) -> Any:
        """All applications."""
        return self._get("applications")

    def application(self, name: str) -> Any:
        """One application."""
        return self._get(f"applications/{segment(name)}")

    def add_application(
        self,
        name: str,
        input_type: str,
        *,
        default_output: str = "",
        slo_seconds: float = 0.1,
        link: Optional[str] = None,
        **more: Any,
    ) -> Any:
        """Registers an application: ``input_type`` is ``integers``, ``floats``, ``doubles``,
        ``bytes``, ``strings`` or ``tensors``. ``more`` has fields such as ``guarantee``. With
        ``link`` it is answered by that model."""
        body = {
            "name": name,
            "input_type": input_type,
            "default_output": default_output,
            "latency_slo_micros": round(slo_seconds * 1e6),
            **more,
        }
        made = self._change("POST", "applications", body)
        if link is not None:
            return _then(made, lambda: self.link(name, link))
        return made

    def remove_application(self, name: str) -> Any:
        """Removes an application."""
        return self._change("DELETE", f"applications/{segment(name)}")

    def link(self, application: str, model: str) -> Any:
        """Has a model answer an application."""
        path = f"applications/{segment(application)}/links"
        return self._change("PUT", path, {"models": [model]})

    def unlink(self, application: str, model: str) -> Any:
        """Has a model answer an application no longer."""
        path = f"applications/{segment(application)}/links"
        return self._change("DELETE", path, {"models": [model]})

    def models(self) -> Any:
        """All models."""
        return self._get("models")

    def model(self, name: str) -> Any:
        """One model with its versions."""
        return self._get(f"models/{segment(name)}")

    def add_model(self, name: str, version: str, input_type: str, **more: Any) -> Any:
        """Registers a version of a model, which becomes the current one; ``more`` has fields such
        as ``batching`` or ``labels``."""
        body = {"model": name, "version": version, "input_type": input_type, **more}
        return self._change("POST", "models", body)

    def remove_model(self, name: str, version: Optional[str] = None) -> Any:
        """Removes a version, or the whole model."""
        path = f"models/{segment(name)}"
        return self._change(
            "DELETE", path if version is None else f"{path}/versions/{segment(version)}"
        )

    def set_version(self, name: str, version: str) -> Any:
        """Makes a version the current one."""
        return self._change("PUT", f"models/{segment(name)}/current", {"version": version})

    def rollback(self, name: str) -> Any:
        """Makes the version current that was so before."""
        return self._change("POST", f"models/{segment(name)}/rollback")

    def deploy(self, name: str, version: str, command: Sequence[str], replicas: int = 1) -> Any:
        """Has the front end keep so many processes of a version running."""
        path = f"models/{segment(name)}/versions/{segment(version)}/deployment"
        return self._change("PUT", path, {"replicas": replicas, "command": list(command)})

    def undeploy(self, name: str, version: str) -> Any:
        """Ends a deployment."""
        path = f"models/{segment(name)}/versions/{segment(version)}/deployment"
        return self._change("DELETE", path)

    def scale(self, name: str, replicas: int, version: Optional[str] = None) -> Any:
        """Changes the number of replicas of a deployed version, by default the current one."""
        body = {"replicas": replicas, "version": version}
        return self._change("PATCH", f"models/{segment(name)}/deployment", body)

    def logs(self, name: str) -> Any:
        """What the deployed replicas of a model wrote last."""
        return self._get(f"models/{segment(name)}/logs")

    def explain(self, name: str) -> Any:
        """How a model stands, what it bears, and why its last batches were as they were."""
        return self._get(f"explain/{segment(name)}")

    def _get(self, path: str) -> Any:
        return self._send(Request("GET", f"/api/v1/{path}"))

    def _change(self, method: str, path: str, body: Any = None) -> Any:
        if body is None:
            return self._send(Request(method, f"/api/v1/{path}", is_safe=False))
        request = post(f"/api/v1/{path}", body, is_safe=False)
        return self._send(request._replace(method=method))


def _then(made: Any, following: Any) -> Any:
    """The second of two changes, whether they are awaited or not."""
    if not hasattr(made, "__await__"):
        following()
        return made

    async def both() -> Any:
        result = await made
        await following()
        return result

    return both()
