"""Kubeconfig files: parsed, validated and merged by the rules of kubectl.

As in Go, null is the same as a field that is not set, also in lists. Whether an entry is complete
is checked only for the entries that are used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import yaml

from spotalis.kube.config import yaml_document
from spotalis.kube.config.errors import BAD_KUBECONFIG, ConfigError

T = TypeVar("T")


class Cluster(msgspec.Struct, rename="kebab"):
    """The address of a cluster, and how to verify it."""

    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None
    disable_compression: bool | None = None
    extensions: list[Extension | None] | None = None


class Extension(msgspec.Struct):
    """Data of another program about a cluster."""

    name: str | None = None
    extension: object = None


class EnvironmentVariable(msgspec.Struct):
    """An environment variable for a plugin."""

    name: str | None = None
    value: str | None = None


class Plugin(msgspec.Struct, rename="camel"):
    """``exec`` of a user."""

    command: str | None = None
    api_version: str | None = None
    args: list[str | None] | None = None
    env: list[EnvironmentVariable | None] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool | None = None
    interactive_mode: str | None = None


class AuthProvider(msgspec.Struct):
    """``auth-provider`` of a user, which Spotalis does not support."""

    name: str | None = None


class User(msgspec.Struct, rename="kebab"):
    """A user and its credentials."""

    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    exec_: Plugin | None = msgspec.field(name="exec", default=None)
    auth_provider: AuthProvider | None = None
    as_: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str | None] | None = None
    as_user_extra: dict[str, list[str | None] | None] | None = None


class Context(msgspec.Struct):
    """A pair of cluster and user."""

    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None
    """The default namespace of commands."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A named entry, and the directory that its relative paths refer to."""

    value: T
    folder: Path


@dataclass(slots=True)
class Kubeconfig:
    """One file or several merged files; the first file that defines an entry wins."""

    files: dict[Path, list[str]] = field(default_factory=dict)
    """The existing files, with the names of their contexts."""
    current_context: str = ""
    clusters: dict[str, Entry[Cluster]] = field(default_factory=dict)
    users: dict[str, Entry[User]] = field(default_factory=dict)
    contexts: dict[str, Entry[Context]] = field(default_factory=dict)


def read(paths: list[Path]) -> Kubeconfig:
    """Read and merge the files that exist.

    Raises:
        ConfigError: a file cannot be read, or is not a kubeconfig.
    """
    merged = Kubeconfig()
    for path in dict.fromkeys(paths):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _bad(path, error.strerror or str(error)) from None
        found = _parse(path, text)
        folder = path.absolute().parent
        clusters = _by_name(path, "clusters", ((c.name, c.cluster) for c in _set(found.clusters)))
        users = _by_name(path, "users", ((u.name, u.user) for u in _set(found.users)))
        contexts = _by_name(path, "contexts", ((c.name, c.context) for c in _set(found.contexts)))
        merged.files[path] = list(contexts)
        merged.current_context = merged.current_context or found.current_context or ""
        for name, cluster in clusters.items():
            merged.clusters.setdefault(name, Entry(cluster or Cluster(), folder))
        for name, user in users.items():
            merged.users.setdefault(name, Entry(user or User(), folder))
        for name, context in contexts.items():
            merged.contexts.setdefault(name, Entry(context or Context(), folder))
    return merged


def _set(entries: list[T | None] | None) -> Iterable[T]:
    return (entry for entry in entries or () if entry is not None)


def _by_name(path: Path, kind: str, named: Iterable[tuple[str | None, T]]) -> dict[str, T]:
    """The entries by name. Nothing can refer to an entry without a name."""
    found: dict[str, T] = {}
    for name, value in named:
        if name in found:
            raise _bad(path, f"{kind}: duplicate name {name!r}")
        if name:
            found[name] = value
    return found


def _parse(path: Path, text: bytes) -> _File:
    try:
        document = yaml_document.load(text)
        return msgspec.convert({} if document is None else document, _File)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise _bad(path, f"{where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(path, str(error).splitlines()[0]) from None


def _bad(path: Path, line: str) -> ConfigError:
    return ConfigError(
        BAD_KUBECONFIG,
        f"the kubeconfig {path} cannot be read",
        (line,),
        f"kubectl --kubeconfig {path} config view",
    )


class _NamedCluster(msgspec.Struct):
    name: str | None = None
    cluster: Cluster | None = None


class _NamedUser(msgspec.Struct):
    name: str | None = None
    user: User | None = None


class _NamedContext(msgspec.Struct):
    name: str | None = None
    context: Context | None = None


class _File(msgspec.Struct, rename="kebab"):
    current_context: str | None = None
    clusters: list[_NamedCluster | None] | None = None
    users: list[_NamedUser | None] | None = None
    contexts: list[_NamedContext | None] | None = None
