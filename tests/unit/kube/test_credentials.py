from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotalis.kube.config.access import ConfigError, load
from spotalis.kube.config.credentials import Credential, Credentials
from spotalis.kube.config.exec_plugin import CompletedProcess, run_program
from tests.support.manual_clock import ManualClock

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)


class TestFiles:
    async def test_a_token_file_is_read_again_each_minute(self, tmp_path: Path) -> None:
        token, clock = tmp_path / "token", ManualClock()
        token.write_text("one")
        credentials = Credentials(token_file=token)
        assert (await credentials.get(clock)).headers == bearer("one")
        token.write_text("two")
        clock.advance(59)
        assert (await credentials.get(clock)).headers == bearer("one")
        clock.advance(1)
        assert (await credentials.get(clock)).headers == bearer("two")

    async def test_certificate_files_are_read_again_too(self, tmp_path: Path) -> None:
        certificate, clock = tmp_path / "tls.crt", ManualClock()
        certificate.write_text("one")
        credentials = Credentials(certificate=certificate, key=b"key")
        assert (await credentials.get(clock)).certificate == b"one"
        certificate.write_text("two")
        clock.advance(60)
        assert (await credentials.get(clock)).certificate == b"two"

    async def test_a_refused_token_is_read_again_at_once(self, tmp_path: Path) -> None:
        token, clock = tmp_path / "token", ManualClock()
        token.write_text("one")
        credentials = Credentials(token_file=token)
        refused = await credentials.get(clock)
        token.write_text("two")
        assert (await credentials.get(clock, rejected=refused)).headers == bearer("two")

    async def test_a_file_that_is_briefly_missing_is_tolerated(self, tmp_path: Path) -> None:
        token, clock = tmp_path / "token", ManualClock()
        token.write_text("one")
        credentials = Credentials(token_file=token)
        await credentials.get(clock)
        token.unlink()
        clock.advance(60)
        assert (await credentials.get(clock)).headers == bearer("one")

    async def test_a_token_is_used_until_the_token_file_was_readable(self, tmp_path: Path) -> None:
        token, clock = tmp_path / "token", ManualClock()
        credentials = Credentials(token="given", token_file=token)
        assert (await credentials.get(clock)).headers == bearer("given")
        token.write_text("one")
        clock.advance(60)
        assert (await credentials.get(clock)).headers == bearer("one")
        token.unlink()
        clock.advance(60)
        assert (await credentials.get(clock)).headers == bearer("one")

    @pytest.mark.parametrize("content", [None, b"\xff"])
    async def test_a_file_that_never_was_readable(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        token = tmp_path / "token"
        if content is not None:
            token.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            await Credentials(token_file=token).get(ManualClock())
        assert caught.value.code == "SP006"


class Plugin:
    """A credential plugin that answers from a list, and notes how it was called."""

    def __init__(self, *answers: CompletedProcess | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Sequence[str], Mapping[str, str]]] = []

    async def __call__(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> CompletedProcess:
        self.calls.append((command, environment))
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def info(self) -> Any:
        """What the last call was told."""
        return json.loads(self.calls[-1][1]["KUBERNETES_EXEC_INFO"])


def gives(version: str = V1, **status: str) -> CompletedProcess:
    document = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return CompletedProcess(0, json.dumps(document).encode())


def with_plugin(folder: Path, run: Any, **plugin: Any) -> Credentials:
    """The credentials of a kubeconfig whose user has this ``exec``."""
    cluster = {
        "server": "https://10.1.2.3:6443",
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
        "tls-server-name": "kubernetes",
        "extensions": [
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}},
            {"name": "other", "extension": {"not": "this"}},
        ],
    }
    document = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [
            {"name": "u", "user": {"exec": {"apiVersion": V1, "command": "login", **plugin}}}
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / "config"
    file.write_text(yaml.safe_dump(document))
    environment = {"PATH": "/usr/bin", "REGION": "eu"}
    return load(environment, kubeconfig=str(file), run=run).credentials


async def refusal(credentials: Credentials) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        await credentials.get(ManualClock())
    return caught.value


class TestPlugins:
    @pytest.mark.parametrize("version", [V1, V1BETA1])
    async def test_a_token_from_either_version(self, tmp_path: Path, version: str) -> None:
        plugin = Plugin(gives(version, token="t"))
        credentials = with_plugin(
            tmp_path, plugin, apiVersion=version, args=["--x"], env=[{"name": "A", "value": "b"}]
        )
        assert (await credentials.get(ManualClock())).headers == bearer("t")
        command, environment = plugin.calls[0]
        assert command == ("login", "--x")
        assert (environment["REGION"], environment["A"]) == ("eu", "b")
        assert plugin.info == {
            "apiVersion": version,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }

    async def test_the_plugin_receives_the_cluster_if_requested(self, tmp_path: Path) -> None:
        plugin = Plugin(gives(token="t"))
        await with_plugin(tmp_path, plugin, provideClusterInfo=True).get(ManualClock())
        assert plugin.info["spec"]["cluster"] == {
            "server": "https://10.1.2.3:6443",
            "certificate-authority-data": base64.b64encode(b"CA").decode(),
            "tls-server-name": "kubernetes",
            "config": {"audience": "a"},
        }

    async def test_yaml_is_accepted_and_a_date_in_it_is_an_expiry(self, tmp_path: Path) -> None:
        text = f"apiVersion: {V1}\nstatus:\n  token: one\n"
        text += "  expirationTimestamp: 2026-11-23T10:15:00Z\n"
        plugin = Plugin(CompletedProcess(0, text.encode()), gives(token="two"))
        credentials, clock = with_plugin(tmp_path, plugin), ManualClock()
        assert (await credentials.get(clock)).headers == bearer("one")
        clock.advance(15 * 60)
        assert (await credentials.get(clock)).headers == bearer("two")

    async def test_json_with_tabs_is_accepted(self, tmp_path: Path) -> None:
        document = {"apiVersion": V1, "status": {"token": "t"}}
        plugin = Plugin(CompletedProcess(0, json.dumps(document, indent="\t").encode()))
        assert (await with_plugin(tmp_path, plugin).get(ManualClock())).headers == bearer("t")

    async def test_an_argument_with_a_nul_is_reported(self, tmp_path: Path) -> None:
        credentials = with_plugin(tmp_path, run_program, command="true", args=["a\0b"])
        assert "cannot be run" in (await refusal(credentials)).what

    async def test_a_client_certificate(self, tmp_path: Path) -> None:
        plugin = Plugin(gives(clientCertificateData="CERT", clientKeyData="KEY"))
        credential = await with_plugin(tmp_path, plugin).get(ManualClock())
        assert credential == Credential(certificate=b"CERT", key=b"KEY")

    async def test_the_plugin_runs_again_when_its_credential_expires(self, tmp_path: Path) -> None:
        plugin = Plugin(
            gives(token="one", expirationTimestamp="2026-11-23T10:15:00Z"), gives(token="two")
        )
        credentials, clock = with_plugin(tmp_path, plugin), ManualClock()
        assert (await credentials.get(clock)).headers == bearer("one")
        clock.advance(14 * 60)
        assert (await credentials.get(clock)).headers == bearer("one")
        clock.advance(59)
        assert (await credentials.get(clock)).headers == bearer("two")
        clock.advance(86_400)
        assert (await credentials.get(clock)).headers == bearer("two")

    async def test_concurrent_requests_run_the_plugin_once(self, tmp_path: Path) -> None:
        plugin = Plugin(gives(token="one"), gives(token="two"))
        credentials, clock = with_plugin(tmp_path, plugin), ManualClock()
        first = await asyncio.gather(*(credentials.get(clock) for _ in range(9)))
        assert {credential.headers for credential in first} == {bearer("one")}
        again = await asyncio.gather(*(credentials.get(clock, rejected=first[0]) for _ in range(9)))
        assert {credential.headers for credential in again} == {bearer("two")}
        assert len(plugin.calls) == 2

    async def test_a_relative_command_with_a_path_starts_at_the_kubeconfig(
        self, tmp_path: Path
    ) -> None:
        plugin = Plugin(gives(token="t"))
        await with_plugin(tmp_path, plugin, command="bin/login").get(ManualClock())
        assert plugin.calls[0][0] == (str(tmp_path / "bin/login"),)

    async def test_a_missing_plugin_comes_with_its_install_hint(self, tmp_path: Path) -> None:
        plugin = Plugin(FileNotFoundError())
        error = await refusal(with_plugin(tmp_path, plugin, installHint="brew install\nlogin"))
        assert error.code == "SP006"
        assert error.what == "the credential plugin `login` is not installed"
        assert error.lines == ("brew install", "login")
        assert error.fix == "run `login` and fix the error that it reports"

    @pytest.mark.parametrize(
        ("answer", "what"),
        [
            (CompletedProcess(1, b"", b"not logged in\n"), "failed with status 1"),
            (TimeoutError(), "did not answer in 60 s"),
            (PermissionError(13, "Permission denied"), "cannot be run: Permission denied"),
            (CompletedProcess(0, b"hello"), "did not print an ExecCredential"),
            (gives(V1BETA1, token="t"), "printed 'client.authentication.k8s.io/v1beta1'"),
            (gives(), "printed neither a token nor a certificate with its key"),
            (gives(clientKeyData="KEY"), "printed neither"),
            (gives(token="t", expirationTimestamp="2026-11-23T10:15:00"), "ExecCredential"),
        ],
    )
    async def test_each_failure_of_a_plugin_is_reported(
        self, tmp_path: Path, answer: CompletedProcess | Exception, what: str
    ) -> None:
        error = await refusal(with_plugin(tmp_path, Plugin(answer)))
        assert error.code == "SP006"
        assert what in error.what

    async def test_the_error_output_of_a_plugin_is_shown(self, tmp_path: Path) -> None:
        error = await refusal(
            with_plugin(tmp_path, Plugin(CompletedProcess(1, b"", b"not logged in\n")))
        )
        assert error.lines == ("not logged in",)

    @pytest.mark.parametrize(
        "plugin",
        [
            {"apiVersion": "client.authentication.k8s.io/v1alpha1"},
            {"apiVersion": None},
            {"interactiveMode": "Always"},
            {"command": None},
            {"env": [{"value": "without a name"}]},
            {"env": [None]},
        ],
    )
    def test_unsupported_plugins_are_rejected_when_loading(
        self, tmp_path: Path, plugin: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            with_plugin(tmp_path, Plugin(), **plugin)
        assert caught.value.code == "SP006"


class TestRunProgram:
    async def run(self, script: str, **environment: str) -> CompletedProcess:
        return await run_program((sys.executable, "-c", script), environment)

    async def test_a_program_sees_only_the_given_environment(self) -> None:
        finished = await self.run("import os; print(sorted(os.environ))", ONLY="this")
        assert finished.status == 0
        assert b"ONLY" in finished.stdout
        assert b"HOME" not in finished.stdout

    async def test_status_and_error_output_are_returned(self) -> None:
        finished = await self.run("import sys; sys.stderr.write('no'); sys.exit(3)")
        assert (finished.status, finished.stderr) == (3, b"no")

    async def test_a_program_has_no_standard_input(self) -> None:
        assert (await self.run("import sys; print(repr(sys.stdin.read()))")).stdout == b"''\n"

    async def test_a_cancelled_program_is_killed(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        script = (
            f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        )
        task = asyncio.ensure_future(self.run(script))
        await appears(lambda: pid_file.exists() and pid_file.read_text())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not Path("/proc", pid_file.read_text()).exists()  # noqa: ASYNC240  # it is in memory

    @pytest.mark.parametrize("output", ["stdout", "stderr"])
    async def test_a_helper_that_keeps_an_output_open_is_not_waited_for(self, output: str) -> None:
        other = {"stdout": "stderr", "stderr": "stdout"}[output]
        script = (
            "import subprocess, sys; "
            "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
            f"{other}=subprocess.DEVNULL); print(helper.pid); print('no', file=sys.stderr)"
        )
        async with asyncio.timeout(30):
            finished = await self.run(script)
        assert (finished.status, finished.stderr) == (0, b"no\n")
        os.kill(int(finished.stdout), signal.SIGKILL)

    async def test_more_output_than_a_pipe_holds_is_read(self) -> None:
        finished = await self.run("import sys; print('x' * 10**6); sys.stderr.write('y' * 10**6)")
        assert (len(finished.stdout), len(finished.stderr)) == (10**6 + 1, 10**6)

    async def test_a_missing_program(self) -> None:
        with pytest.raises(FileNotFoundError):
            await run_program(("no-such-program",), {"PATH": "/nonexistent"})


async def appears(check: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.01)
