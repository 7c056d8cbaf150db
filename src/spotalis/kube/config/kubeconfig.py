"""Kubeconfig files: parsed, validated and merged by the rules of kubectl."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import yaml

from spotalis.kube.config.errors import BAD_KUBECONFIG, ConfigError

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

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
    extensions: list[Extension] | None = None


class Extension(msgspec.Struct):
    """Data of another program about a cluster."""

    name: str = ""
    extension: object = None


class EnvironmentVariable(msgspec.Struct):
    """An environment variable for a plugin."""

    name: str
    value: str = ""


class Plugin(msgspec.Struct, rename="camel"):
    """``exec`` of a user."""

    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[EnvironmentVariable] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool | None = None
    interactive_mode: str | None = None


class User(msgspec.Struct, rename="kebab"):
    """A user and its credentials."""

    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    exec_: Plugin | None = msgspec.field(name="exec", default=None)
    auth_provider: object = None
    as_: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None


class Context(msgspec.Struct):
    """A pair of cluster and user."""

    cluster: str | None = None
    user: str | None = None


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
        merged.files[path] = [context.name for context in found.contexts or ()]
        merged.current_context = merged.current_context or found.current_context or ""
        for cluster in found.clusters or ():
            merged.clusters.setdefault(cluster.name, Entry(cluster.cluster or Cluster(), folder))
        for user in found.users or ():
            merged.users.setdefault(user.name, Entry(user.user or User(), folder))
        for context in found.contexts or ():
            merged.contexts.setdefault(context.name, Entry(context.context or Context(), folder))
    return merged


def _parse(path: Path, text: bytes) -> _File:
    try:
        return msgspec.convert(yaml.load(text, _Strict) or {}, _File)  # noqa: S506 - a safe loader
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
    name: str
    cluster: Cluster | None = None


class _NamedUser(msgspec.Struct):
    name: str
    user: User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: Context | None = None


class _File(msgspec.Struct, rename="kebab"):
    current_context: str | None = None
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


class _Strict(Loader):
    """Rejects duplicate keys, of which YAML would silently use the last one."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """Construct a mapping after checking its keys."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if key in keys[:position] and key != "<<":
                problem = f"duplicate key {key!r}"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)
