"""A container manager of ``clipper_admin`` that runs Skysail on this machine.

An unmodified ``clipper_admin`` 0.4.1 drives Skysail through it::

    from clipper_admin import ClipperConnection
    from skysail_clipper import SkysailContainerManager

    clipper = ClipperConnection(SkysailContainerManager())
    clipper.start_clipper()
    clipper.register_application("digits", "floats", "-1", 100000)
    clipper.deploy_model("linear", "1", "floats", "skysail example-container digits-linear")
    clipper.link_model_to_app("digits", "linear")

Where ``clipper_admin`` names a Docker image, a *command* is named here: a text with the program
and its arguments, quoted as a shell quotes them, or a key of the mapping ``commands`` that the
manager was made with. Skysail starts the replicas, restarts those that end, and stops them with
itself.

Only Python's standard library is needed. Without ``clipper_admin`` the manager works alone, with
an error class of its own in place of ``clipper_admin``'s.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, Callable, Mapping, Optional, Sequence, Union
from urllib.parse import quote

try:
    from clipper_admin.container_manager import ContainerManager
    from clipper_admin.exceptions import ClipperException
except ImportError:

    class ContainerManager:  # type: ignore[no-redef]
        """Stands in for the base class of an absent ``clipper_admin``."""

    class ClipperException(Exception):  # type: ignore[no-redef]
        """Skysail encountered a problem."""

        def __init__(self, msg: str, *args: Any) -> None:
            super().__init__(msg, *args)
            self.msg = msg


__all__ = ["ClipperException", "SkysailContainerManager"]

Command = Union[str, Sequence[str]]

DEFAULT_CACHE_BYTES = 33554432
#: Seconds for the front end to get ready, and to end when it is told to.
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
#: Seconds for the front end to answer a request.
REQUEST_SECONDS_MAX = 30.0
#: Lines of each replica's log, as many as the front end gives.
LOG_LINES_MAX = 10000
#: Lines of the front end's log that an error shows.
LOG_LINES_SHOWN = 5
POLL_SECONDS = 0.05


class SkysailContainerManager(ContainerManager):
    """Runs one Skysail front end, and models as its processes.

    Parameters
    ----------
    cluster_name:
        Names the cluster in log lines.
    executable:
        The ``skysail`` command.
    data_dir:
        Where Skysail keeps its state. What is registered there is there again after a restart.
        Without one, a temporary directory is made, which ``stop_all`` removes.
    query_port, management_port, rpc_port:
        Ports on 127.0.0.1; 0 takes any free one.
    management_addr:
        ``HOST:PORT`` of a running front end's management port, to connect to it without its
        data directory. ``stop_all`` leaves such a front end running.
    commands:
        Commands by the name of an image.
    ready_seconds_max:
        How long ``set_num_replicas`` and the ``stop_...`` methods wait for replicas.
    serve_args:
        More arguments of ``skysail serve``.
    """

    def __init__(
        self,
        cluster_name: str = "default-cluster",
        executable: str = "skysail",
        data_dir: Optional[str] = None,
        query_port: int = 1337,
        management_port: int = 1338,
        rpc_port: int = 7000,
        management_addr: Optional[str] = None,
        commands: Optional[Mapping[str, Command]] = None,
        ready_seconds_max: float = 300.0,
        serve_args: Sequence[str] = (),
    ) -> None:
        self.cluster_name = cluster_name
        self.cluster_identifier = cluster_name
        self.executable = executable
        self.data_dir = None if data_dir is None else os.path.abspath(data_dir)
        self.query_port = query_port
        self.management_port = management_port
        self.rpc_port = rpc_port
        self.management_addr = management_addr
        self.commands = dict(commands or {})
        self.ready_seconds_max = ready_seconds_max
        self.serve_args = list(serve_args)
        self.logger = logging.getLogger(__name__)
        self._endpoints: Optional[dict[str, Any]] = None
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._is_data_dir_ours = False

    # The front end.

    def start_clipper(
        self,
        query_frontend_image: Optional[str] = None,
        mgmt_frontend_image: Optional[str] = None,
        frontend_exporter_image: Optional[str] = None,
        cache_size: int = DEFAULT_CACHE_BYTES,
        qf_http_thread_pool_size: int = 1,
        qf_http_timeout_request: int = 5,
        qf_http_timeout_content: int = 300,
        num_frontend_replicas: int = 1,
    ) -> None:
        """Starts ``skysail serve``, or connects to the one that runs on the data directory.

        ``cache_size`` is the prediction cache's, in bytes. A ``qf_http_thread_pool_size`` above 1
        is the number of cores that serve queries; at 1, which is Clipper's default, Skysail
        chooses. The images and time-outs are those of Clipper's own servers and have no meaning
        here.

        Raises
        ------
        ClipperException
            If it does not start, with the end of its log, or for more than one front end.
        """
        del query_frontend_image, mgmt_frontend_image, frontend_exporter_image
        del qf_http_timeout_request, qf_http_timeout_content
        if num_frontend_replicas != 1:
            raise ClipperException(
                f"num_frontend_replicas is {num_frontend_replicas}, only 1 is possible: Skysail "
                "on one machine is one front end; use qf_http_thread_pool_size for more cores"
            )
        if self._find() is None:
            self._start(cache_size, qf_http_thread_pool_size)
        self.logger.info("[%s] Skysail answers at %s", self.cluster_name, self.get_query_addr())

    def connect(self) -> None:
        """Connects to a running front end, by its data directory or management address.

        Raises
        ------
        ClipperException
            If none answers there.
        """
        if self._find() is None:
            where = self.management_addr or self.data_dir or "the manager was given neither"
            raise ClipperException(
                f"no running Skysail was found ({where}); start it with start_clipper, or give "
                "the data_dir or management_addr of one that runs"
            )

    def stop_all(self, graceful: bool = True) -> None:
        """Stops the front end and with it all replicas; not an error if none runs.

        What is registered stays in a data directory that was given. A front end that is known
        by its management address alone keeps running, without replicas.

        ``graceful`` lets it answer what it has admitted first; without, it is killed.
        """
        if self._endpoints is None and self._find() is None:
            self.logger.info("[%s] there is no Skysail to stop", self.cluster_name)
        elif self._process is None and self.data_dir is None:
            self.stop_all_model_containers()
            self.logger.warning(
                "[%s] the front end at %s keeps running: without its data_dir it is not ours to "
                "stop",
                self.cluster_name,
                self.management_addr,
            )
        else:
            self._end(graceful)
        self._endpoints = None
        if self._is_data_dir_ours and self.data_dir is not None:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            self.data_dir, self._is_data_dir_ours = None, False

    def get_query_addr(self) -> str:
        """``HOST:PORT`` of predictions, feedback and Clipper's metrics."""
        return str(self._connected()["query"])

    def get_admin_addr(self) -> str:
        """``HOST:PORT`` of management."""
        return str(self._connected()["management"])

    def get_metric_addr(self) -> str:
        """``HOST:PORT`` of the metrics that Prometheus reads, at ``/metrics``."""
        return self.get_admin_addr()

    # Models.

    def deploy_model(
        self, name: str, version: str, input_type: str, image: str, num_replicas: int = 1
    ) -> None:
        """Has Skysail run replicas of a version as soon as it is registered.

        ``clipper_admin`` registers a version after this method, so that there is nothing to wait
        for yet; ``image`` is a command. ``input_type`` is told to Skysail by the registration.

        Raises
        ------
        ClipperException
            If the command cannot be found, or the version is registered already.
        """
        del input_type
        if self._is_registered(name, version):
            raise ClipperException(
                f"model {name}:{version} is registered already, and versions do not change: "
                "deploy another version, or stop this one first"
            )
        self._deploy(name, version, image, num_replicas, early=True)

    def get_num_replicas(self, name: str, version: str) -> int:
        """How many replicas Skysail keeps running; of a model that was started by other means,
        how many are connected."""
        for deployed in self._deployments():
            if (deployed["model"], deployed["version"]) == (name, version):
                return int(deployed["replicas"])
        return len(self._replicas(name, version))

    def set_num_replicas(
        self, name: str, version: str, input_type: str, image: str, num_replicas: int
    ) -> None:
        """Starts or stops replicas, and waits until as many are connected.

        Raises
        ------
        ClipperException
            If they are not within ``ready_seconds_max``, with where to find out why.
        """
        del input_type
        path = f"/api/v1/models/{quote(name, safe='')}/deployment"
        body = {"version": version, "replicas": num_replicas}
        if self._request("PATCH", path, body, absent_is_error=False) is None:
            self._deploy(name, version, image, num_replicas, early=False)
        self._wait(
            lambda: len(self._replicas(name, version)) == num_replicas,
            f"{num_replicas} replicas of {name}:{version} to be connected; get_logs gets their "
            "logs, 'skysail status' says how they ended",
        )

    def stop_models(self, models: Mapping[str, Sequence[str]]) -> None:
        """Stops all replicas of versions, given by model, that Skysail runs."""
        pids = set()
        for name, versions in models.items():
            for version in versions:
                pids |= {replica["pid"] for replica in self._processes(name, version)}
                self._request(
                    "DELETE", _version_path(name, version, "/deployment"), absent_is_error=False
                )
        self._wait_for_end(pids)

    def stop_all_model_containers(self) -> None:
        """Stops all replicas that Skysail runs."""
        models: dict[str, list[str]] = {}
        for deployed in self._deployments():
            models.setdefault(deployed["model"], []).append(deployed["version"])
        self.stop_models(models)

    def get_logs(self, logging_dir: str) -> list[str]:
        """Writes the logs of the front end, if this manager started it, and the end of the log
        of each deployed replica to files in a directory, which is made if absent.

        Returns the paths of the files.
        """
        logging_dir = os.path.abspath(os.path.expanduser(logging_dir))
        os.makedirs(logging_dir, exist_ok=True)
        files = []
        own_log = self._own_log()
        if own_log is not None and os.path.exists(own_log):
            files.append(shutil.copy(own_log, os.path.join(logging_dir, "frontend.log")))
        for deployed in self._deployments():
            model, version = deployed["model"], deployed["version"]
            path = f"/api/v1/models/{quote(model, safe='')}/logs"
            path += f"?version={quote(version, safe='')}&lines={LOG_LINES_MAX}"
            # Replicas that have not begun have no log.
            found = self._request("GET", path, absent_is_error=False) or {"replicas": []}
            for replica in found["replicas"]:
                file = os.path.join(
                    logging_dir, f"{model}-{version}-replica-{replica['replica']}.log"
                )
                with open(file, "w", encoding="utf-8") as log:
                    log.writelines(line + "\n" for line in replica["lines"])
                files.append(file)
        return files

    # Below: how it is done.

    def _start(self, cache_size: int, cores: int) -> None:
        if self.data_dir is None:
            self.data_dir, self._is_data_dir_ours = tempfile.mkdtemp(prefix="skysail-"), True
        os.makedirs(self.data_dir, mode=0o700, exist_ok=True)
        command = [self.executable, "serve", "--json", "--data-dir", self.data_dir]
        command += ["--query", f"127.0.0.1:{self.query_port}"]
        command += ["--management", f"127.0.0.1:{self.management_port}"]
        command += ["--rpc", f"ipc://{self.data_dir}/rpc.sock"]
        command += ["--rpc", f"tcp://127.0.0.1:{self.rpc_port}"]
        command += ["--cache-bytes", str(cache_size)]
        if cores > 1:
            command += ["--cores", str(cores)]
        command += self.serve_args
        with open(os.path.join(self.data_dir, "frontend.log"), "ab") as log:
            try:
                # A session of its own: like Clipper's containers it outlives this program.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise ClipperException(
                    f"cannot start {self.executable}: {error}; give the path of the skysail "
                    "command as executable"
                ) from error
        self._endpoints = self._read_ready(self._process)

    def _read_ready(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The line that the front end prints when it answers."""
        assert process.stdout is not None
        with process.stdout as stdout:
            if select.select([stdout], [], [], START_SECONDS_MAX)[0]:
                line = stdout.readline()
            else:
                process.kill()
                line = b""
        try:
            return dict(json.loads(line))
        except ValueError as error:
            status = process.wait()
            self._process = None
            raise ClipperException(
                f"skysail serve did not start (status {status}): {self._log_end()}"
            ) from error

    def _own_log(self) -> Optional[str]:
        return None if self.data_dir is None else os.path.join(self.data_dir, "frontend.log")

    def _log_end(self) -> str:
        path = self._own_log()
        assert path is not None, "it has a data directory"
        with open(path, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()[-LOG_LINES_SHOWN:]
        return f"{' | '.join(lines)} (log: {path})"

    def _find(self) -> Optional[dict[str, Any]]:
        """A front end that answers, by its data directory or its address."""
        self._endpoints = None
        if self.data_dir is not None:
            try:
                with open(os.path.join(self.data_dir, "endpoints.json"), encoding="utf-8") as file:
                    found = json.load(file)
            except FileNotFoundError:
                return None
        elif self.management_addr is not None:
            found = {"management": self.management_addr}
        else:
            return None
        try:
            status = _exchange(found["management"], "GET", "/api/v1/status")[1]
        except OSError:
            # A front end that was killed leaves its file behind.
            return None
        self._endpoints = {key: status[key] for key in ("pid", "query", "management", "rpc")}
        return self._endpoints

    def _end(self, graceful: bool) -> None:
        how = signal.SIGTERM if graceful else signal.SIGKILL
        if self._process is not None:
            self._end_child(self._process, how)
            self._process = None
            return
        # Asked again, so that no other process is meant by its number.
        found = self._find()
        if found is not None:
            os.kill(int(found["pid"]), how)
            address = found["management"]
            self._wait(lambda: not _answers(address), f"the front end at {address} to end")

    def _end_child(self, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.logger.warning("[%s] the front end does not end: killing it", self.cluster_name)
            process.kill()
            process.wait()

    def _connected(self) -> dict[str, Any]:
        if self._endpoints is None:
            raise ClipperException(
                "not connected to a running Skysail; call start_clipper or connect first"
            )
        return self._endpoints

    def _command(self, image: str) -> list[str]:
        """The command that stands behind the name of an image."""
        command = self.commands.get(image, image)
        try:
            words = shlex.split(command) if isinstance(command, str) else list(command)
        except ValueError as error:
            raise ClipperException(f"command {command!r} cannot be split: {error}") from error
        if not words:
            raise ClipperException(f"the command of image {image!r} is empty")
        program = shutil.which(words[0])
        if program is None:
            raise ClipperException(
                f"program {words[0]!r} was not found; an image is a command here (a program with "
                "its arguments), or a key of the manager's commands"
            )
        return [os.path.abspath(program)] + words[1:]

    def _deploy(
        self, name: str, version: str, image: str, num_replicas: int, early: bool
    ) -> None:
        body = {"replicas": num_replicas, "command": self._command(image), "early": early}
        self._request("PUT", _version_path(name, version, "/deployment"), body)

    def _is_registered(self, name: str, version: str) -> bool:
        path = f"/api/v1/models/{quote(name, safe='')}"
        model = self._request("GET", path, absent_is_error=False) or {"versions": []}
        return any(one["version"] == version for one in model["versions"])

    def _status(self) -> Any:
        return self._request("GET", "/api/v1/status")

    def _deployments(self) -> list[dict[str, Any]]:
        """Model, version, replicas of everything that is deployed."""
        status = self._status()
        deployed = [one for one in status["models"] if one["deployment"] is not None]
        known = [
            {
                "model": one["name"],
                "version": one["version"],
                "replicas": one["deployment"]["replicas"],
                "processes": one["deployment"]["processes"],
            }
            for one in deployed
        ]
        return known + [dict(one, processes=[]) for one in status["early_deployments"]]

    def _processes(self, name: str, version: str) -> list[dict[str, Any]]:
        of_version = [
            one
            for one in self._deployments()
            if (one["model"], one["version"]) == (name, version)
        ]
        return [process for one in of_version for process in one["processes"]]

    def _replicas(self, name: str, version: str) -> list[dict[str, Any]]:
        """Connected replicas."""
        replicas = self._request("GET", "/api/v1/replicas")
        return [one for one in replicas if (one["model"], one["version"]) == (name, version)]

    def _wait_for_end(self, pids: set[Optional[int]]) -> None:
        def are_gone() -> bool:
            connected = self._request("GET", "/api/v1/replicas")
            return not any(replica["pid"] in pids for replica in connected)

        self._wait(are_gone, "replicas to end")

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self.ready_seconds_max
        while not is_so():
            if time.monotonic() >= end:
                raise ClipperException(f"waited {self.ready_seconds_max:g} s for {what}")
            time.sleep(POLL_SECONDS)

    def _request(
        self, method: str, path: str, body: Any = None, absent_is_error: bool = True
    ) -> Any:
        """A request to the management port. ``None`` for what is not there, if that is no error."""
        address = self.get_admin_addr()
        try:
            status, answer = _exchange(address, method, path, body)
        except OSError as error:
            raise ClipperException(
                f"Skysail does not answer at {address}: {error}; is it still running?"
            ) from error
        if status == 404 and not absent_is_error:
            return None
        if status not in (200, 201):
            said = answer.get("error", {}).get("message", answer)
            raise ClipperException(f"Skysail refused {method} {path} ({status}): {said}")
        return answer


def _version_path(name: str, version: str, more: str) -> str:
    model = quote(name, safe="")
    return f"/api/v1/models/{model}/versions/{quote(version, safe='')}{more}"


def _exchange(
    address: str, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    """Status and JSON of one request on a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=REQUEST_SECONDS_MAX)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{method} {path} had no answer in JSON: {error}") from error
    finally:
        connection.close()


def _answers(address: str) -> bool:
    try:
        _exchange(address, "GET", "/health")
    except OSError:
        return False
    return True
