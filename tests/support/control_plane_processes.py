"""A Kubernetes control plane on loopback: its processes, its folder, its users.

etcd, the API server, the controller manager and the scheduler are the real ones. kwok simulates
nodes and kubelets. control_plane.py adds the methods that tests use.
"""
# ruff: noqa: TID251  # real processes live in real time and inherit the environment

from __future__ import annotations

import atexit
import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed import build
from tests.support.api_requests import ApiError, ApiRequests, Json
from tests.support.control_plane_config import CommandLines, ControlPlaneConfig, ProcessName
from tests.support.control_plane_errors import ControlPlaneError, KubectlError
from tests.support.control_plane_folder import prepare_folder, write_kubeconfigs
from tests.support.free_ports import PortClaim, claim_ports
from tests.support.process_groups import clean_environment, signal_group, start_guard

_POLL = 0.04  # seconds between two checks
_BOOT_TIMEOUT = 60.0  # seconds; booting takes four on an idle machine


class ControlPlaneProcesses:
    """A running control plane with all its files in one folder.

    The folder contains `audit.log`, `logs/<process>.log`, `<user>.kubeconfig`, and the
    configuration of the processes. The processes end with `stop`, with the `with` block, and with
    the Python process that booted them, however that ends.

    Methods are thread-safe, except those that start and stop processes.
    """

    def __init__(
        self,
        folder: Path,
        config: ControlPlaneConfig,
        binaries: Mapping[str, Path],
        ports: PortClaim,
    ) -> None:
        """Prepares a control plane without starting it: use `boot`."""
        self.folder = folder
        self.config = config
        self._binaries = binaries
        self._claim = ports
        etcd_port, peer_port, secure_port = ports.ports[:3]
        self._commands = CommandLines(
            folder=folder,
            config=config,
            etcd_port=etcd_port,
            peer_port=peer_port,
            secure_port=secure_port,
            api_server_args=config.api_server_args,
        )
        self._processes: dict[ProcessName, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._tokens = {name: secrets.token_hex(16) for name in config.groups()}
        self._api = ApiRequests(secure_port, self.ca_file, self._tokens)

    @classmethod
    def boot(
        cls,
        folder: Path,
        config: ControlPlaneConfig | None = None,
        *,
        binaries: Mapping[str, Path] | None = None,
    ) -> Self:
        """Start a control plane in a folder. Returns when API, controllers and permissions work.

        Args:
            folder: created if missing; data of an earlier control plane is removed first.
            binaries: paths by name; by default `testbed.build` finds or builds them (minutes).

        Raises:
            ControlPlaneError: with the end of a process's log.
        """
        if binaries is None:
            binaries = build.obtain(report=say_if_building)
        folder = folder.resolve()
        control_plane = cls(folder, config or ControlPlaneConfig(), binaries, claim_ports())
        atexit.register(control_plane.stop)
        try:
            control_plane._start_everything()
        except BaseException:
            control_plane.stop()
            raise
        return control_plane

    def stop(self) -> None:
        """Kill every process (SIGKILL) and remove the data of etcd; logs stay.

        Returns when no process is left. A second call does nothing.
        """
        atexit.unregister(self.stop)
        self._api.close()
        for process in self._processes.values():
            signal_group(process, signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(b"done\n")
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)
        self._claim.release()

    def __enter__(self) -> Self:
        """Return the control plane."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the control plane."""
        self.stop()

    @property
    def server(self) -> str:
        """The address of the API server: "https://127.0.0.1:<port>"."""
        return self._commands.server

    @property
    def ca_file(self) -> Path:
        """The CA file of the API server, PEM."""
        return self._commands.ca_file

    def token(self, user: str) -> str:
        """Return the bearer token of a user.

        Raises:
            KeyError: the user is unknown.
        """
        return self._tokens[user]

    def kubeconfig(self, user: str = "admin") -> Path:
        """Return the path of a user's kubeconfig (with CA and token; default namespace "default").

        Args:
            user: "admin" (system:masters: every permission, exempt from priority and fairness),
                "spotalis" (the operator's service account with ControlPlaneConfig.rbac), or a user
                of ControlPlaneConfig.users.

        Raises:
            KeyError: the user is unknown.
        """
        self.token(user)
        return self.folder / f"{user}.kubeconfig"

    def user_name(self, user: str) -> str:
        """Return the full name of a user in the API server; unknown names stay as they are."""
        return self.config.user_name(user)

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002  # the word that subprocess uses
        user: str = "admin",
        timeout: float = 60.0,
    ) -> str:
        """Run kubectl and return its output. Takes at least 60 ms: `request` is faster.

        Raises:
            KubectlError, subprocess.TimeoutExpired
        """
        answer = subprocess.run(
            [
                self._binaries["kubectl"],
                f"--kubeconfig={self.kubeconfig(user)}",
                f"--cache-dir={self.folder / 'kubectl-cache'}",
                *arguments,
            ],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment(),
            check=False,
        )
        if answer.returncode != 0:
            raise KubectlError(
                f"kubectl {' '.join(arguments)}: {(answer.stderr or answer.stdout).strip()}"
            )
        return answer.stdout

    def apply(self, manifest: str | Sequence[Json]) -> str:
        """Apply manifests with kubectl: YAML text, or objects.

        Raises:
            KubectlError
        """
        if not isinstance(manifest, str):
            manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifest)})
        return self.kubectl("apply", "-f", "-", input=manifest)

    def request(
        self,
        method: str,
        path: str,
        body: Json | list[Any] | None = None,
        *,
        user: str = "admin",
        content_type: str | None = None,
        timeout: float = 30.0,
    ) -> Json:
        """Send one request to the API server: see ApiRequests.request."""
        return self._api.request(
            method, path, body, user=user, content_type=content_type, timeout=timeout
        )

    def pids(self) -> dict[ProcessName, int]:
        """Process IDs of the processes that were started and not stopped."""
        return {name: process.pid for name, process in self._processes.items()}

    def log(self, name: ProcessName) -> Path:
        """The file that collects the output of a process, across restarts."""
        return self.folder / "logs" / f"{name}.log"

    def start_process(self, name: ProcessName) -> None:
        """Start a process that `stop_process` ended. Does not wait until it is ready."""
        if name in self._processes:
            raise ControlPlaneError(f"{name} runs already")
        self._start(name)

    def stop_process(self, name: ProcessName, *, kill: bool = False) -> None:
        """End one process and wait until it is gone: SIGTERM, then SIGKILL after 10 s or if `kill`.

        Raises:
            KeyError: the process does not run.
        """
        process = self._processes[name]
        if not kill:
            signal_group(process, signal.SIGCONT)  # a paused process would not receive SIGTERM
            signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        signal_group(process, signal.SIGKILL)
        process.wait()
        del self._processes[name]

    def pause(self, name: ProcessName) -> None:
        """Pause a process (SIGSTOP): its connections stay open, but it does not answer."""
        signal_group(self._processes[name], signal.SIGSTOP)

    def resume(self, name: ProcessName) -> None:
        """Resume a paused process (SIGCONT)."""
        signal_group(self._processes[name], signal.SIGCONT)

    def restart_api_server(
        self, *, extra_args: Sequence[str] | None = None, kill: bool = False
    ) -> None:
        """Restart the API server on the same port with the same certificate. Returns when it is
        ready.

        Args:
            extra_args: replaces ControlPlaneConfig.api_server_args from now on; None keeps them.
            kill: True for a crash (SIGKILL), about 2 s; False for a graceful end (SIGTERM), about 3
                s.

        Raises:
            ControlPlaneError
        """
        if extra_args is not None:
            self._commands.api_server_args = tuple(extra_args)
        if "kube-apiserver" in self._processes:
            self.stop_process("kube-apiserver", kill=kill)
        self._start("kube-apiserver")
        self._wait_for_api_server(time.monotonic() + _BOOT_TIMEOUT)

    @property
    def etcd_port(self) -> int:
        """The client port of etcd."""
        return self._commands.etcd_port

    @contextlib.contextmanager
    def another_api_server(self, etcd_port: int) -> Iterator[tuple[str, Path]]:
        """Run a second API server on the same data during the block, ready when the block begins.

        ``etcd_port`` may be that of a link that can be stopped. Yields the address and the file of
        its audit log.
        """
        port, audit_log = self._claim.ports[3], self.folder / "audit-of-another.log"
        own = ("--etcd-servers=", "--secure-port=", "--audit-log-path=")
        arguments = [a for a in self._commands.arguments("kube-apiserver") if not a.startswith(own)]
        places = (f"http://127.0.0.1:{etcd_port}", port, audit_log)
        arguments += [f"{flag}{place}" for flag, place in zip(own, places, strict=True)]
        audit_log.write_bytes(b"")
        process = self._spawn("kube-apiserver", arguments, self.folder / "logs" / "another.log")
        requests = ApiRequests(port, self.ca_file, self._tokens)
        try:
            deadline = time.monotonic() + _BOOT_TIMEOUT
            self._wait(deadline, requests.is_ready, "another API server is ready")
            yield f"https://127.0.0.1:{port}", audit_log
        finally:
            requests.close()
            signal_group(process, signal.SIGKILL)
            process.wait()

    def _start_everything(self) -> None:
        deadline = time.monotonic() + _BOOT_TIMEOUT
        prepare_folder(self.folder, self.config, self.config.groups(), self._tokens)
        self._guard = start_guard(self.folder)
        self._start("etcd")
        self._start("kube-apiserver")
        self._wait_for_api_server(deadline)
        write_kubeconfigs(self.folder, self.server, self.ca_file, self._tokens)
        self._start("kube-controller-manager")
        self._start("kube-scheduler")
        self._start("kwok")
        self._ensure_namespace(self.config.namespace)
        for file in self.config.rbac:
            self.kubectl("apply", "-f", str(file))
        self._wait(deadline, self._controllers_work, "the controllers work")

    def _start(self, name: ProcessName) -> None:
        self._processes[name] = self._spawn(name, self._commands.arguments(name), self.log(name))

    def _spawn(
        self, name: ProcessName, arguments: Sequence[str], log_file: Path
    ) -> subprocess.Popen[bytes]:
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [self._binaries[name], *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=clean_environment(),
                start_new_session=True,
            )
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(f"{process.pid}\n".encode())
            self._guard.stdin.flush()
        return process

    def _wait_for_api_server(self, deadline: float) -> None:
        self._api.close()
        self._wait(deadline, self._api.is_ready, "the API server is ready")

    def _controllers_work(self) -> bool:
        """True once the controller manager has published the root CA: its caches are synced."""
        try:
            self.request("GET", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _ensure_namespace(self, name: str) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            self.request("POST", "/api/v1/namespaces", namespace)
        except ApiError as error:
            if error.status != 409:
                raise

    def _wait(self, deadline: float, check: Callable[[], bool], what: str) -> None:
        while not check():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ControlPlaneError(
                        f"{name} ended with {process.returncode} before {what}:\n{self._tail(name)}"
                    )
            if time.monotonic() > deadline:
                tails = "\n".join(f"{name}:\n{self._tail(name)}" for name in self._processes)
                raise ControlPlaneError(f"not within {_BOOT_TIMEOUT:g} s: {what}\n{tails}")
            time.sleep(_POLL)

    def _tail(self, name: ProcessName) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()
        return "\n".join(lines[-12:])


def say_if_building(line: str) -> None:
    """Print the progress of build.obtain on standard error, unless the binaries exist."""
    if not line.startswith("have"):
        print(line, file=sys.stderr, flush=True)
