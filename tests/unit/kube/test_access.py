from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from spotalis.kube.config.access import ClusterAccess, ConfigError, Overrides, load
from tests.support.api_objects import Json
from tests.support.manual_clock import ManualClock

NOWHERE = Path("/nonexistent")
SERVER = "https://10.1.2.3:6443"


def a_kubeconfig(
    *contexts: str, current: str | None = None, server: str = SERVER, **fields: Any
) -> Json:
    """Contexts of a cluster and a user each, all of one name; ``fields`` belong to the cluster."""
    names = contexts or ("prod",)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": names[0] if current is None else current,
        "clusters": [{"name": n, "cluster": {"server": server, **fields}} for n in names],
        "users": [{"name": n, "user": {"token": f"token-of-{n}"}} for n in names],
        "contexts": [{"name": n, "context": {"cluster": n, "user": n}} for n in names],
    }


def of_user(**user: Any) -> Json:
    document = a_kubeconfig()
    document["users"] = [{"name": "prod", "user": user}]
    return document


def write(path: Path, document: Json | str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def find(environment: dict[str, str] | None = None, **options: Any) -> ClusterAccess:
    return load(environment or {}, **{"in_cluster_dir": NOWHERE, **options})


async def headers_of(access: ClusterAccess) -> dict[str, str]:
    return dict((await access.credentials.get(ManualClock())).headers)


def context_of(access: ClusterAccess) -> str:
    """The context that was chosen: each has a user with a token that names it."""
    headers = asyncio.run(headers_of(access))
    return headers["Authorization"].removeprefix("Bearer token-of-")


def refusal(environment: dict[str, str] | None = None, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        find(environment, **options)
    return caught.value


def inside_a_pod(folder: Path) -> tuple[dict[str, str], Path]:
    write(folder / "token", "pod-token")
    write(folder / "ca.crt", "CA")
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    return environment, folder


class TestWhereItLooks:
    def test_the_named_file_comes_first(self, tmp_path: Path) -> None:
        named = write(tmp_path / "named", a_kubeconfig("named"))
        variable = write(tmp_path / "variable", a_kubeconfig("variable"))
        write(tmp_path / ".kube" / "config", a_kubeconfig("home"))
        environment = {"KUBECONFIG": variable, "HOME": str(tmp_path)}
        assert context_of(find(environment, kubeconfig=named)) == "named"
        assert context_of(find(environment)) == "variable"
        assert context_of(find({"HOME": str(tmp_path)})) == "home"

    def test_a_pod_without_a_kubeconfig_uses_its_own_cluster(self, tmp_path: Path) -> None:
        environment, folder = inside_a_pod(tmp_path / "sa")
        access = find({**environment, "HOME": str(tmp_path)}, in_cluster_dir=folder)
        assert access.server == "https://10.0.0.1:443"
        assert access.ca == folder / "ca.crt"

    async def test_the_pods_token_comes_from_its_file(self, tmp_path: Path) -> None:
        environment, folder = inside_a_pod(tmp_path / "sa")
        access = find(environment, in_cluster_dir=folder)
        assert await headers_of(access) == {"Authorization": "Bearer pod-token"}

    def test_a_kubeconfig_takes_precedence_over_the_pods_own_cluster(self, tmp_path: Path) -> None:
        environment, folder = inside_a_pod(tmp_path / "sa")
        write(tmp_path / ".kube" / "config", a_kubeconfig("home"))
        assert (
            context_of(find({**environment, "HOME": str(tmp_path)}, in_cluster_dir=folder))
            == "home"
        )

    def test_a_pod_of_an_ipv6_cluster(self, tmp_path: Path) -> None:
        environment, folder = inside_a_pod(tmp_path / "sa")
        environment["KUBERNETES_SERVICE_HOST"] = "fd00::1"
        assert find(environment, in_cluster_dir=folder).server == "https://[fd00::1]:443"

    def test_the_context_can_be_named(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig("one", "two"))
        assert context_of(find(kubeconfig=file, context="two")) == "two"


class TestOverrides:
    async def test_flags_replace_parts_of_the_context(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig("one"))
        (tmp_path / "ca.crt").write_text("PEM")
        found = find(
            kubeconfig=file,
            overrides=Overrides(
                server="https://other:6443",
                token="secret",
                as_user="ana",
                as_groups=("dev", "ops"),
                tls_server_name="api",
                certificate_authority=str(tmp_path / "ca.crt"),
            ),
        )
        assert (found.server, found.tls_server_name) == ("https://other:6443", "api")
        assert found.ca == tmp_path / "ca.crt"
        assert await headers_of(found) == {
            "Authorization": "Bearer secret",
            "Impersonate-User": "ana",
            "Impersonate-Group": "ops",
        }

    def test_a_certificate_authority_is_relative_to_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(tmp_path / "kube" / "config", a_kubeconfig("one"))
        (tmp_path / "ca.crt").write_text("PEM")
        monkeypatch.chdir(tmp_path)
        found = find(kubeconfig=file, overrides=Overrides(certificate_authority="ca.crt"))
        assert found.ca == tmp_path / "ca.crt"

    def test_inside_a_pod_no_flag_is_ignored_silently(self, tmp_path: Path) -> None:
        environment, folder = inside_a_pod(tmp_path / "sa")
        with pytest.raises(ConfigError) as caught:
            find(environment, in_cluster_dir=folder, overrides=Overrides(as_user="ana"))
        assert caught.value.what == "flags such as --as, --token and --server need a kubeconfig"


class TestMerging:
    def both(self, tmp_path: Path, one: Json, two: Json) -> dict[str, str]:
        files = [write(tmp_path / "a" / "config", one), write(tmp_path / "b" / "config", two)]
        return {"KUBECONFIG": ":".join(files)}

    async def test_the_first_file_that_defines_an_entry_wins(self, tmp_path: Path) -> None:
        one, two = a_kubeconfig("same"), a_kubeconfig("same", server="https://other")
        one["users"][0]["user"] = {"as": "ana"}
        access = find(self.both(tmp_path, one, two))
        assert access.server == SERVER
        assert await headers_of(access) == {"Impersonate-User": "ana"}

    def test_the_first_current_context_wins(self, tmp_path: Path) -> None:
        environment = self.both(tmp_path, a_kubeconfig("one"), a_kubeconfig("two"))
        assert context_of(find(environment)) == "one"

    def test_a_later_file_adds_missing_entries(self, tmp_path: Path) -> None:
        environment = self.both(tmp_path, a_kubeconfig("one", current=""), a_kubeconfig("two"))
        assert context_of(find(environment)) == "two"
        assert context_of(find(environment, context="one")) == "one"

    def test_a_context_may_refer_to_entries_of_another_file(self, tmp_path: Path) -> None:
        only_context = {"contexts": a_kubeconfig()["contexts"], "current-context": "prod"}
        rest = a_kubeconfig()
        del rest["contexts"], rest["current-context"]
        assert find(self.both(tmp_path, only_context, rest)).server == SERVER

    def test_missing_and_empty_files_are_skipped(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig())
        empty = write(tmp_path / "empty", "")
        assert context_of(find({"KUBECONFIG": f"{tmp_path}/missing::{empty}:{file}"})) == "prod"

    def test_relative_paths_start_at_their_own_file(self, tmp_path: Path) -> None:
        write(tmp_path / "b" / "ca.crt", "CA")
        relative = a_kubeconfig("two", **{"certificate-authority": "ca.crt"})
        environment = self.both(tmp_path, a_kubeconfig("one"), relative)
        assert find(environment, context="two").ca == tmp_path / "b" / "ca.crt"


class TestClusters:
    def access(self, tmp_path: Path, **fields: Any) -> ClusterAccess:
        return find(kubeconfig=write(tmp_path / "config", a_kubeconfig(**fields)))

    def test_all_fields_of_a_cluster(self, tmp_path: Path) -> None:
        data = base64.b64encode(b"CA").decode()
        access = self.access(
            tmp_path,
            **{
                "certificate-authority-data": data,
                "tls-server-name": "kubernetes",
                "proxy-url": "http://proxy:3128",
                "disable-compression": True,
                "insecure-skip-tls-verify": True,
            },
        )
        assert (access.ca, access.tls_server_name) == (b"CA", "kubernetes")
        assert (access.proxy_url, access.compress, access.verify) == (
            "http://proxy:3128",
            False,
            False,
        )

    def test_inline_data_takes_precedence_over_files(self, tmp_path: Path) -> None:
        data = base64.b64encode(b"CA").decode()
        fields = {"certificate-authority": "/missing", "certificate-authority-data": data}
        assert self.access(tmp_path, **fields).ca == b"CA"

    @pytest.mark.parametrize(
        ("written", "server"),
        [
            ("https://host:6443/", "https://host:6443"),
            ("https://host/k8s/clusters/c-1", "https://host/k8s/clusters/c-1"),
            ("localhost:8080", "http://localhost:8080"),
        ],
    )
    def test_server_addresses(self, tmp_path: Path, written: str, server: str) -> None:
        assert self.access(tmp_path, server=written).server == server

    @pytest.mark.parametrize("written", ["", "ftp://host", "https://"])
    def test_no_usable_address(self, tmp_path: Path, written: str) -> None:
        file = write(tmp_path / "config", a_kubeconfig(server=written))
        assert refusal(kubeconfig=file).code == "SP004"

    def test_the_proxy_of_the_environment_is_used(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig())
        access = find({"HTTPS_PROXY": "http://proxy:3128"}, kubeconfig=file)
        assert access.proxy_url == "http://proxy:3128"

    def test_a_proxy_that_is_not_http_is_refused(self, tmp_path: Path) -> None:
        proxy = "socks5://proxy:1080"
        error = refusal(kubeconfig=write(tmp_path / "config", a_kubeconfig(**{"proxy-url": proxy})))
        says = "must be an HTTP proxy; Spotalis does not support SOCKS"
        assert error.what == f'the proxy of cluster "prod" {says}'
        assert "--proxy-url=http" in error.fix
        file = write(tmp_path / "config", a_kubeconfig())
        error = refusal({"HTTPS_PROXY": proxy}, kubeconfig=file)
        assert error.what == f"the proxy in the environment {says}"
        assert error.fix == "export HTTPS_PROXY=http://HOST:PORT"


class TestUsers:
    async def headers(self, tmp_path: Path, **user: Any) -> dict[str, str]:
        return await headers_of(find(kubeconfig=write(tmp_path / "config", of_user(**user))))

    async def test_a_token(self, tmp_path: Path) -> None:
        assert await self.headers(tmp_path, token="t") == {"Authorization": "Bearer t"}

    async def test_a_token_file_takes_precedence_over_a_token(self, tmp_path: Path) -> None:
        write(tmp_path / "token", "from-file\n")
        headers = await self.headers(tmp_path, token="t", tokenFile="token")
        assert headers == {"Authorization": "Bearer from-file"}

    async def test_a_context_without_a_user(self, tmp_path: Path) -> None:
        document = a_kubeconfig()
        document["contexts"][0]["context"] = {"cluster": "prod"}
        del document["users"]
        access = find(kubeconfig=write(tmp_path / "config", document))
        assert await headers_of(access) == {}

    async def test_impersonation(self, tmp_path: Path) -> None:
        """To ignore this would be to act with more rights than asked for."""
        user = {"as": "ana", "as-uid": "7", "as-groups": ["a"], "as-user-extra": {"x/y": ["z"]}}
        assert await self.headers(tmp_path, **user) == {
            "Impersonate-User": "ana",
            "Impersonate-Uid": "7",
            "Impersonate-Group": "a",
            "Impersonate-Extra-x%2Fy": "z",
        }

    async def test_client_certificates_from_data_and_files(self, tmp_path: Path) -> None:
        write(tmp_path / "tls.key", "KEY")
        data = base64.b64encode(b"CERT").decode()
        user = {"client-certificate-data": data, "client-key": "tls.key"}
        access = find(kubeconfig=write(tmp_path / "config", of_user(**user)))
        credential = await access.credentials.get(ManualClock())
        assert (credential.certificate, credential.key) == (b"CERT", b"KEY")

    @pytest.mark.parametrize(
        ("provider", "what"),
        [
            ("oidc", "which kubectl supports, but Spotalis does not"),
            ("gcp", "which Kubernetes clients do not support any more"),
        ],
    )
    def test_an_auth_provider_is_refused(self, tmp_path: Path, provider: str, what: str) -> None:
        file = write(tmp_path / "config", of_user(**{"auth-provider": {"name": provider}}))
        error = refusal(kubeconfig=file)
        assert error.code == "SP006"
        assert error.what == f'user "prod" uses the auth-provider {provider}, {what}'
        assert ("kubectl oidc-login" in error.fix) == (provider == "oidc")

    async def test_a_token_takes_precedence_over_oidc(self, tmp_path: Path) -> None:
        headers = await self.headers(tmp_path, token="t", **{"auth-provider": {"name": "oidc"}})
        assert headers == {"Authorization": "Bearer t"}

    async def test_a_client_certificate_takes_precedence_over_a_plugin(
        self, tmp_path: Path
    ) -> None:
        data = base64.b64encode(b"PEM").decode()
        pair = {"client-certificate-data": data, "client-key-data": data}
        plugin = {"exec": {"apiVersion": "x", "command": "missing"}}
        assert await self.headers(tmp_path, **pair, **plugin) == {}

    async def test_without_tls_only_impersonation_is_sent(self, tmp_path: Path) -> None:
        document = of_user(**{"token": "t", "as": "ana"})
        document["clusters"][0]["cluster"]["server"] = "http://10.1.2.3:8080"
        access = find(kubeconfig=write(tmp_path / "config", document))
        assert await headers_of(access) == {"Impersonate-User": "ana"}


class TestErrors:
    def test_no_cluster_at_all(self, tmp_path: Path) -> None:
        error = refusal({"HOME": str(tmp_path)})
        assert error.code == "SP001"
        assert error.what == "no cluster to connect to: no kubeconfig found"
        assert error.lines == (
            "searched: $KUBECONFIG (unset), ~/.kube/config (missing)",
            "not inside a pod: $KUBERNETES_SERVICE_HOST is unset",
        )
        assert error.fix == "set --kubeconfig     or try: spotalis demo"

    def test_no_current_context(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig("prod-eu", "kind-dev", current=""))
        error = refusal({"KUBECONFIG": file})
        assert error.code == "SP001"
        assert error.what == "no cluster to connect to: the kubeconfig has no current context"
        assert error.lines == (f"searched: {file} (2 contexts: prod-eu, kind-dev)",)
        assert error.fix == (
            "kubectl config use-context prod-eu     or add --context prod-eu     "
            "or try: spotalis demo"
        )

    def test_a_named_file_that_is_missing(self) -> None:
        error = refusal(kubeconfig="/nonexistent/config")
        assert error.code == "SP001"
        assert "/nonexistent/config" in error.what

    def test_a_context_that_is_misspelt(self, tmp_path: Path) -> None:
        file = write(tmp_path / "config", a_kubeconfig("prod-eu", "kind-dev"))
        error = refusal(kubeconfig=file, context="pord-eu")
        assert error.code == "SP005"
        assert error.what == 'the kubeconfig has no context "pord-eu"; did you mean "prod-eu"?'

    @pytest.mark.parametrize("kind", ["cluster", "user"])
    def test_a_context_without_a_cluster(self, tmp_path: Path, kind: str) -> None:
        document = a_kubeconfig("prod")
        del document[f"{kind}s"]
        error = refusal(kubeconfig=write(tmp_path / "config", document))
        assert error.what == f'the kubeconfig has no {kind} "prod"'

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("a: [", "line 2: "),
            ("- a\n", "Expected `object`"),
            ("users: 7\n", "$.users"),
            ("users: [{name: a, user: {token: 7}}]\n", "$.users[0].user.token"),
            ("current-context: a\ncurrent-context: b\n", "duplicate key 'current-context'"),
            ("users: [{name: a, user: {token: x, token: y}}]\n", "duplicate key 'token'"),
            ("\x00", "#x0000"),
        ],
    )
    def test_a_file_that_is_not_a_kubeconfig(self, tmp_path: Path, text: str, line: str) -> None:
        file = write(tmp_path / "config", text)
        error = refusal(kubeconfig=file)
        assert error.code == "SP004"
        assert file in error.what
        assert line in error.lines[0]

    def test_a_file_without_read_permission(self, tmp_path: Path) -> None:
        assert refusal(kubeconfig=str(tmp_path)).lines == ("Is a directory",)

    def test_certificates_that_are_not_base64(self, tmp_path: Path) -> None:
        fields = {"certificate-authority-data": "%%%"}
        error = refusal(kubeconfig=write(tmp_path / "config", a_kubeconfig(**fields)))
        assert error.code == "SP007"
        assert error.what == 'the certificate-authority of cluster "prod" is not base64'
        assert error.fix == 'correct the certificate-authority of cluster "prod" in the kubeconfig'

    def test_certificates_that_are_missing(self, tmp_path: Path) -> None:
        fields = {"certificate-authority": "ca.crt"}
        error = refusal(kubeconfig=write(tmp_path / "config", a_kubeconfig(**fields)))
        assert error.lines == (f"{tmp_path}/ca.crt: No such file or directory",)
