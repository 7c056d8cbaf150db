"""Turn the user of a kubeconfig context into credentials."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from spotalis.kube.config.credentials import Credentials, PemSource, read_pem
from spotalis.kube.config.errors import BAD_TLS, NO_CREDENTIALS, ConfigError
from spotalis.kube.config.exec_plugin import API_VERSIONS, ExecPlugin, RunProgram
from spotalis.kube.config.kubeconfig import Cluster, Entry, Plugin, User

_CONFIG_EXTENSION = "client.authentication.k8s.io/exec"


def credentials_of(
    user: Entry[User],
    name: str,
    cluster: Cluster,
    *,
    ca: PemSource | None,
    environment: Mapping[str, str],
    run_program: RunProgram,
) -> Credentials:
    """The credentials of a user; explicit ones take precedence over a plugin.

    Raises:
        ConfigError: the kind of credentials is not supported.
    """
    value = user.value
    has_certificate = bool(
        (value.client_certificate or value.client_certificate_data)
        and (value.client_key or value.client_key_data)
    )
    has_token = bool(value.token or value.token_file)
    if value.auth_provider is not None:
        _check_auth_provider(name, value.auth_provider.name or "", has_token=has_token)
    plugin = None
    if value.exec_ is not None and not has_token and not has_certificate:
        plugin = _plugin(value.exec_, user.folder, cluster, ca, environment, run_program)
    whose = f'of user "{name}"'
    return Credentials(
        headers=impersonation_headers(value),
        token=value.token or "",
        token_file=user.folder / value.token_file if value.token_file else None,
        certificate=read_pem_source(
            value.client_certificate_data,
            value.client_certificate,
            user.folder,
            f"client-certificate {whose}",
        ),
        key=read_pem_source(
            value.client_key_data, value.client_key, user.folder, f"client-key {whose}"
        ),
        plugin=plugin,
    )


def read_pem_source(
    data: str | None, file: str | None, folder: Path, what: str
) -> PemSource | None:
    """PEM text from base64, or the file that holds it; None if neither is set.

    Raises:
        ConfigError: the text is not base64, or the file cannot be read.
    """
    fix = f"correct the {what} in the kubeconfig"
    if data:
        try:
            # As in Go, line breaks are allowed, spaces are not.
            return base64.b64decode(re.sub(r"[\r\n]", "", data), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(BAD_TLS, f"the {what} is not base64", fix=fix) from None
    if not file:
        return None
    path = folder / file
    try:
        path.read_bytes()
    except OSError as error:
        what = f"the {what} cannot be read"
        raise ConfigError(BAD_TLS, what, (f"{path}: {error.strerror}",), fix) from None
    return path


def _check_auth_provider(user: str, provider: str, *, has_token: bool) -> None:
    """Reject a provider, unless client-go ignores it too.

    client-go still supports ``oidc``, and a token takes precedence over it. For other names, it
    fails in any case; it removed ``azure`` and ``gcp`` in Kubernetes 1.26.
    """
    if provider == "oidc" and has_token:
        return
    fix = "log in again with the tool of your provider; it configures an exec plugin instead"
    what = "which Kubernetes clients do not support any more"
    if provider == "oidc":
        fix = "configure an exec plugin for OpenID Connect, for example `kubectl oidc-login`"
        what = "which kubectl supports, but Spotalis does not"
    raise ConfigError(
        NO_CREDENTIALS, f'user "{user}" uses the auth-provider {provider}, {what}', fix=fix
    )


def impersonation_headers(user: User) -> tuple[tuple[str, str], ...]:
    """The headers with which a user impersonates another one."""
    headers = [("Impersonate-User", user.as_)] if user.as_ else []
    if user.as_uid:
        headers.append(("Impersonate-Uid", user.as_uid))
    headers += [("Impersonate-Group", group or "") for group in user.as_groups or ()]
    for key, values in (user.as_user_extra or {}).items():
        header = f"Impersonate-Extra-{quote(key, safe='')}"
        headers += [(header, value or "") for value in values or ()]
    return tuple(headers)


def _plugin(
    plugin: Plugin,
    folder: Path,
    cluster: Cluster,
    ca: PemSource | None,
    environment: Mapping[str, str],
    run_program: RunProgram,
) -> ExecPlugin:
    command, api_version = plugin.command or "", plugin.api_version or ""
    variables = [variable for variable in plugin.env or () if variable is not None]
    if not command or len(variables) < len(plugin.env or ()) or not all(v.name for v in variables):
        raise ConfigError(
            NO_CREDENTIALS,
            "the credential plugin has no command, or a variable without a name",
            fix="correct `exec` of the user in the kubeconfig",
        )
    if api_version not in API_VERSIONS:
        raise ConfigError(
            NO_CREDENTIALS,
            f"the credential plugin `{command}` uses API version '{api_version}'",
            (f"supported: {', '.join(API_VERSIONS)}",),
            "update the plugin and generate the kubeconfig again",
        )
    if plugin.interactive_mode == "Always":
        raise ConfigError(
            NO_CREDENTIALS,
            f"the credential plugin `{command}` requires a terminal",
            ("interactiveMode: Always",),
            "set interactiveMode to IfAvailable, or use another user",
        )
    return ExecPlugin(
        api_version=api_version,
        command=str(folder / command) if "/" in command else command,
        args=tuple(argument or "" for argument in plugin.args or ()),
        environment={**environment, **{v.name or "": v.value or "" for v in variables}},
        install_hint=plugin.install_hint or "",
        cluster=_cluster_info(cluster, ca) if plugin.provide_cluster_info else None,
        run_program=run_program,
    )


def _cluster_info(cluster: Cluster, ca: PemSource | None) -> dict[str, object]:
    """``spec.cluster`` of an ExecCredential."""
    config = [e.extension for e in cluster.extensions or () if e and e.name == _CONFIG_EXTENSION]
    info = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(read_pem(ca)).decode(),
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
        "config": config[0] if config else None,
    }
    return {key: value for key, value in info.items() if value}
