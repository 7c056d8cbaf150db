"""Find a cluster: in a kubeconfig, or from inside a pod."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from spotalis.kube.config import kubeconfig as files
from spotalis.kube.config.credentials import Credentials, PemSource
from spotalis.kube.config.errors import BAD_KUBECONFIG, NO_CLUSTER, NO_SUCH_ENTRY, ConfigError
from spotalis.kube.config.exec_plugin import RunProgram, run_program
from spotalis.kube.config.kubeconfig import Cluster, Entry, Kubeconfig, User
from spotalis.kube.config.proxy import proxy_for
from spotalis.kube.config.users import credentials_of, impersonation_headers, read_pem_source
from spotalis.model.suggestion import did_you_mean

__all__ = ["ClusterAccess", "ConfigError", "Overrides", "load"]

T = TypeVar("T")

IN_CLUSTER_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """How to connect to one API server."""

    server: str
    """Its URL; may have a path."""
    credentials: Credentials = field(default_factory=Credentials)
    ca: PemSource | None = None
    """Trusted certificate authorities; None: those of the system."""
    verify: bool = True
    tls_server_name: str = ""
    """The name in its certificate, if it differs from the host of ``server``."""
    proxy_url: str = ""
    compress: bool = True
    namespace: str = "default"
    """The namespace of the context, or of the pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What replaces a part of the context; empty fields replace nothing.

    The fields are kubectl's flags of the same names.
    """

    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    client_certificate: str = ""
    client_key: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    as_uid: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    certificate_authority: str = ""

    def apply_to_cluster(self, cluster: Cluster) -> Cluster:
        """The cluster with these flags."""
        changes = {
            "server": self.server,
            "tls_server_name": self.tls_server_name,
            "insecure_skip_tls_verify": self.insecure_skip_tls_verify,
            # Relative to the working directory, unlike a path in the kubeconfig.
            "certificate_authority": self.certificate_authority
            and os.path.abspath(self.certificate_authority),
        }
        if self.certificate_authority or self.insecure_skip_tls_verify:
            cluster = msgspec.structs.replace(
                cluster, certificate_authority_data=None, certificate_authority=None
            )
        return msgspec.structs.replace(cluster, **{k: v for k, v in changes.items() if v})

    def apply_to_user(self, user: User) -> User:
        """The user with these flags. As in kubectl, a token does not replace the certificate of the
        user, which the API server looks at first."""
        if self.client_certificate:
            path = os.path.abspath(self.client_certificate)
            user = msgspec.structs.replace(
                user, client_certificate=path, client_certificate_data=None
            )
        if self.client_key:
            path = os.path.abspath(self.client_key)
            user = msgspec.structs.replace(user, client_key=path, client_key_data=None)
        changes = {
            "token": self.token,
            "as_": self.as_user,
            "as_uid": self.as_uid,
            "as_groups": list(self.as_groups),
        }
        return msgspec.structs.replace(user, **{k: v for k, v in changes.items() if v})


def load(
    environment: Mapping[str, str],
    *,
    kubeconfig: str = "",
    context: str = "",
    overrides: Overrides = Overrides(),
    in_cluster_dir: Path = IN_CLUSTER_DIR,
    run: RunProgram = run_program,
) -> ClusterAccess:
    """Find the cluster: ``kubeconfig``, $KUBECONFIG, ~/.kube/config, the pod's service account.

    The first that exists is used; the service account only without a kubeconfig.

    Raises:
        ConfigError: no cluster is configured, or the configuration is invalid.
    """
    paths = _paths(environment, kubeconfig)
    config = files.read(paths)
    if kubeconfig and not config.files:
        raise ConfigError(
            NO_CLUSTER,
            f"no cluster to connect to: the file {kubeconfig} does not exist",
            fix="set --kubeconfig to an existing file     or try: spotalis demo",
        )
    if not config.contexts and not kubeconfig and not context:
        inside = _in_cluster(environment, in_cluster_dir)
        if inside is not None:
            if overrides != Overrides():
                raise ConfigError(
                    NO_CLUSTER,
                    "flags such as --as, --token and --server need a kubeconfig",
                    ("inside a pod, the service account of the pod is used",),
                    "name a kubeconfig with --kubeconfig",
                )
            return inside
    searched = _searched(paths, config, environment, kubeconfig)
    name = context or config.current_context
    if not name:
        raise _no_cluster(config, searched)
    return _from_context(config, name, overrides, searched, environment, run)


def _paths(environment: Mapping[str, str], kubeconfig: str) -> list[Path]:
    if kubeconfig:
        return [Path(kubeconfig)]
    if named := environment.get("KUBECONFIG"):
        return [Path(path) for path in named.split(os.pathsep) if path]
    home = environment.get("HOME")
    return [Path(home, ".kube", "config")] if home else []


def _in_cluster(environment: Mapping[str, str], folder: Path) -> ClusterAccess | None:
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    token, ca = folder / "token", folder / "ca.crt"
    if not host or not port or not token.exists():
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = folder / "namespace"
    return ClusterAccess(
        server=server,
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        credentials=Credentials(token_file=token),
        ca=ca,
        proxy_url=proxy_for(server, environment),
    )


def _from_context(
    config: Kubeconfig,
    name: str,
    overrides: Overrides,
    searched: tuple[str, ...],
    environment: Mapping[str, str],
    run: RunProgram,
) -> ClusterAccess:
    context = _entry("context", name, config.contexts, searched).value
    cluster_name = overrides.cluster or context.cluster or ""
    user_name = overrides.user or context.user or ""
    cluster = _entry("cluster", cluster_name, config.clusters, searched)
    cluster = replace(cluster, value=overrides.apply_to_cluster(cluster.value))
    user = Entry(User(), Path())
    if user_name:
        user = _entry("user", user_name, config.users, searched)
    user = replace(user, value=overrides.apply_to_user(user.value))
    server = _server(cluster_name, cluster.value)
    ca = read_pem_source(
        cluster.value.certificate_authority_data,
        cluster.value.certificate_authority,
        cluster.folder,
        f'certificate-authority of cluster "{cluster_name}"',
    )
    # As in client-go, no credentials are sent without TLS: others could read them.
    credentials = Credentials(headers=impersonation_headers(user.value))
    if server.startswith("https:"):
        credentials = credentials_of(
            user, user_name, cluster.value, ca=ca, environment=environment, run_program=run
        )
    return ClusterAccess(
        server=server,
        credentials=credentials,
        ca=ca,
        verify=not cluster.value.insecure_skip_tls_verify,
        tls_server_name=cluster.value.tls_server_name or "",
        proxy_url=_proxy(cluster_name, cluster.value, server, environment),
        compress=not cluster.value.disable_compression,
        namespace=context.namespace or "default",
    )


def _entry(
    kind: str, name: str, entries: Mapping[str, Entry[T]], searched: tuple[str, ...]
) -> Entry[T]:
    entry = entries.get(name)
    if entry is not None:
        return entry
    suggestion = did_you_mean(name, entries, quote='"')
    raise ConfigError(
        NO_SUCH_ENTRY,
        f'the kubeconfig has no {kind} "{name}"{suggestion}',
        searched,
        "kubectl config get-contexts     lists the contexts",
    )


def _server(name: str, cluster: Cluster) -> str:
    server = cluster.server or ""
    if server and "://" not in server:
        tls = cluster.certificate_authority or cluster.certificate_authority_data
        server = f"https://{server}" if tls else f"http://{server}"
    if urlsplit(server).scheme in ("http", "https") and urlsplit(server).hostname:
        return server.rstrip("/")
    raise ConfigError(
        BAD_KUBECONFIG,
        f'cluster "{name}" has no usable server address',
        (f"server: '{cluster.server or ''}'",),
        f"kubectl config set-cluster {name} --server=https://HOST:PORT",
    )


def _proxy(name: str, cluster: Cluster, server: str, environment: Mapping[str, str]) -> str:
    proxy = cluster.proxy_url or proxy_for(server, environment)
    if not proxy or urlsplit(proxy).scheme in ("http", "https"):
        return proxy
    what, fix = f'the proxy of cluster "{name}"', f"kubectl config set-cluster {name} --proxy-url="
    if not cluster.proxy_url:
        what, fix = "the proxy in the environment", "export HTTPS_PROXY="
    raise ConfigError(
        BAD_KUBECONFIG,
        f"{what} must be an HTTP proxy; Spotalis does not support SOCKS",
        (f"proxy: '{proxy}'",),
        f"{fix}http://HOST:PORT",
    )


def _no_cluster(config: Kubeconfig, searched: tuple[str, ...]) -> ConfigError:
    what, fix = "no kubeconfig found", "set --kubeconfig"
    if config.files:
        what = "the kubeconfig has no current context"
        some = next(iter(config.contexts), "NAME")
        fix = f"kubectl config use-context {some}     or add --context {some}"
    fix += "     or try: spotalis demo"
    return ConfigError(NO_CLUSTER, f"no cluster to connect to: {what}", searched, fix)


def _searched(
    paths: list[Path], config: Kubeconfig, environment: Mapping[str, str], kubeconfig: str
) -> tuple[str, ...]:
    home = environment.get("HOME", "")
    seen = []
    for path in paths:
        names = config.files.get(path)
        found = "missing" if names is None else f"{len(names)} contexts: {', '.join(names)}"
        shown = f"~/{path.relative_to(home)}" if home and path.is_relative_to(home) else path
        seen.append(f"{shown} ({found})")
    if not kubeconfig and not environment.get("KUBECONFIG"):
        seen.insert(0, "$KUBECONFIG (unset)")
    lines = [f"searched: {', '.join(seen)}"]
    if not config.contexts and "KUBERNETES_SERVICE_HOST" not in environment:
        lines.append("not inside a pod: $KUBERNETES_SERVICE_HOST is unset")
    return tuple(lines)
