"""Credentials from an exec plugin: ``client.authentication.k8s.io`` v1 and v1beta1."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, BinaryIO

import msgspec
import yaml

from spotalis.kube.config import yaml_document
from spotalis.kube.config.errors import NO_CREDENTIALS, ConfigError

API_VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1"))
PLUGIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class CompletedProcess:
    """The result of a program."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""


RunProgram = Callable[[Sequence[str], Mapping[str, str]], Awaitable[CompletedProcess]]
"""Runs a command with an environment. Raises OSError if it cannot start or takes too long."""


async def run_program(command: Sequence[str], environment: Mapping[str, str]) -> CompletedProcess:
    """Run a program without a terminal, for at most ``PLUGIN_SECONDS``.

    A process that the program leaves behind may keep both outputs open. This neither waits for it
    nor fails because of it.
    """
    with _memory_file() as stdout, _memory_file() as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment),
        )
        try:
            async with asyncio.timeout(PLUGIN_SECONDS):
                status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        stdout.seek(0)
        stderr.seek(0)
        return CompletedProcess(status, stdout.read(), stderr.read())


def _memory_file() -> BinaryIO:
    """An anonymous file; in memory if the system supports it, because it holds a credential."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("spotalis-plugin", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile()


@dataclass(frozen=True, slots=True)
class PluginCredential:
    """The credential that a plugin printed."""

    token: str = ""
    certificate: bytes = b""
    key: bytes = b""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A program that prints credentials."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str]
    """The complete environment, including the variables of the kubeconfig."""
    install_hint: str = ""
    cluster: Mapping[str, object] | None = None
    """Passed to the plugin if the kubeconfig sets ``provideClusterInfo``."""
    run_program: RunProgram = run_program

    async def run(self) -> PluginCredential:
        """Run the plugin.

        Raises:
            ConfigError: the plugin is not installed, fails, or prints something else.
        """
        try:
            finished = await self.run_program((self.command, *self.args), self._environment())
        except FileNotFoundError:
            raise self._error("is not installed", *self.install_hint.splitlines()) from None
        except TimeoutError:
            raise self._error(f"did not answer in {PLUGIN_SECONDS:.0f} s") from None
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from None
        except ValueError as error:  # a NUL in an argument or variable
            raise self._error(f"cannot be run: {error}") from None
        if finished.status != 0:
            lines = finished.stderr.decode("utf-8", "replace").splitlines()
            raise self._error(f"failed with status {finished.status}", *lines[-5:])
        return self._read(finished.stdout)

    def _environment(self) -> dict[str, str]:
        spec: dict[str, object] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        return {
            **self.environment,
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode(),
        }

    def _read(self, stdout: bytes) -> PluginCredential:
        try:
            # As in client-go, YAML is accepted too; JSON is a part of it.
            answer = msgspec.convert(yaml_document.load(stdout), _ExecCredential)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            line = str(error).partition("\n")[0]
            raise self._error(f"did not print an ExecCredential: {line}") from None
        if answer.api_version != self.api_version:
            said = f"printed {answer.api_version!r}, but the kubeconfig requires {self.api_version}"
            raise self._error(said)
        status = answer.status
        has_pair = status and status.client_certificate_data and status.client_key_data
        if not status or not (status.token or has_pair):
            raise self._error("printed neither a token nor a certificate with its key")
        return PluginCredential(
            token=status.token or "",
            certificate=(status.client_certificate_data or "").encode(),
            key=(status.client_key_data or "").encode(),
            expires_at=status.expiration_timestamp,
        )

    def _error(self, what: str, *lines: str) -> ConfigError:
        command = " ".join((self.command, *self.args))
        return ConfigError(
            NO_CREDENTIALS,
            f"the credential plugin `{self.command}` {what}",
            lines,
            f"run `{command}` and fix the error that it reports",
        )


class _Status(msgspec.Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str | None = None
    status: _Status | None = None
