"""Find the binaries of the real test bed, and build those that are missing.

Each binary is searched for in this order:

1. the folder $KUBEBUILDER_ASSETS, as `setup-envtest` sets it, if the binary there reports the
   pinned Kubernetes minor version (etcd: any 3.x). Only programs of the control plane can be there.
2. the cache folder: $XDG_CACHE_HOME/spotalis/testbed/<stamp>, by default under ~/.cache. Each set
   has a folder of its own. Its stamp is derived from the set's go.mod, go.sum and Go files, the
   build flags and the Go version, so that no set is rebuilt because another one changes.
3. a build with the Go on the PATH. Go never downloads another toolchain.

The CRDs of an optional program are copied from its module in Go's module cache into one file
beside the binary: <name>.crds.yaml.

Of two concurrent builds of a set, the second waits for the first. An interrupted build leaves no
partial file behind.

Needs Python 3.11 and the standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.programs import CONTROL_PLANE, Binary, ProgramSet, Version

HERE = Path(__file__).resolve().parent
"""The folder with the Go modules."""

_VERSION_VARIABLES = "k8s.io/component-base/version"


def _build_command(version: Version) -> list[str]:
    """Go's arguments for a binary that reports this version of Kubernetes."""
    flags = " ".join(
        [
            "-s -w",
            f"-X {_VERSION_VARIABLES}.gitVersion=v{'.'.join(map(str, version))}",
            f"-X {_VERSION_VARIABLES}.gitMajor={version[0]}",
            f"-X {_VERSION_VARIABLES}.gitMinor={version[1]}",
        ]
    )
    return ["build", "-trimpath", "-buildvcs=false", "-ldflags", flags]


class UnobtainableError(Exception):
    """Binaries are missing and cannot be built on this machine. The message is one line."""


class BuildFailedError(Exception):
    """A build failed. The message ends with the last lines of Go's output."""


Report = Callable[[str], None]
"""Receives one line of progress."""


def print_now(line: str) -> None:
    """Print a line without buffering, because builds are slow and stdout may be a pipe."""
    print(line, flush=True)


def obtain(
    programs: ProgramSet = CONTROL_PLANE,
    report: Report = print_now,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Path]:
    """Find the binaries of a set and build those that are missing. Returns paths by name.

    Raises UnobtainableError, BuildFailedError, and OSError if the cache folder is not writable.
    """
    found = find(programs, environment)
    for name, path in found.items():
        report(f"have  {name:<24} {path}")
    missing = [binary for binary in programs.binaries if binary.name not in found]
    if not missing:
        return found
    go = _go_that_can_build(programs, environment)
    folder = cache_folder(programs, go.version, environment)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock", report):
        # Left by interrupted builds: this process holds the lock.
        for leftover in folder.glob(".*.part"):
            leftover.unlink()
        for binary in missing:
            found[binary.name] = _build(binary, folder / binary.name, go, report, environment)
    return {binary.name: found[binary.name] for binary in programs.binaries}


def find(
    programs: ProgramSet = CONTROL_PLANE, environment: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """Find existing binaries without building. Returns paths by name; missing ones are omitted."""
    folders = _cache_folders(programs, environment)
    found: dict[str, Path] = {}
    for binary in programs.binaries:
        path = None if programs.is_optional else _in_assets(binary, environment)
        candidates = [folder / binary.name for folder in folders] if path is None else [path]
        for candidate in candidates:
            if _is_complete(binary, candidate):
                found[binary.name] = candidate
                break
    return found


def crds_file(path: Path) -> Path:
    """The file with the CRDs of the program at this path."""
    return path.with_name(f"{path.name}.crds.yaml")


def _is_complete(binary: Binary, path: Path) -> bool:
    has_crds = not binary.crds or crds_file(path).is_file()
    return has_crds and path.is_file() and os.access(path, os.X_OK)


def cache_folder(
    programs: ProgramSet, go_version: str, environment: Mapping[str, str] = os.environ
) -> Path:
    """The folder for binaries that this Go version ("go1.26.8") builds from the current pins."""
    return _cache_root(environment) / f"{_stamp(programs)}-{go_version}"


def _cache_root(environment: Mapping[str, str]) -> Path:
    base = environment.get(
        "XDG_CACHE_HOME", ""
    )  # the XDG specification says to ignore relative paths
    home = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return home / "spotalis" / "testbed"


def _cache_folders(programs: ProgramSet, environment: Mapping[str, str]) -> list[Path]:
    """The folder of the installed Go, or without a usable Go all folders of the same pins."""
    with contextlib.suppress(UnobtainableError):
        go = _go_that_can_build(programs, environment)
        return [cache_folder(programs, go.version, environment)]
    folders = _cache_root(environment).glob(f"{_stamp(programs)}-*")
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


@functools.cache
def _stamp(programs: ProgramSet) -> str:
    """Twelve hexadecimal digits that change with any pin, the build flags and the platform.

    The name of an optional set comes first.
    """
    tags = sorted({binary.tags for binary in programs.binaries if binary.tags})
    versions = sorted({binary.kubernetes for binary in programs.binaries})
    commands = [word for version in versions for word in _build_command(version)]
    digest = hashlib.sha256(" ".join([*commands, platform.machine(), *tags]).encode())
    for module in programs.modules:
        sources = sorted(file.name for file in (HERE / module).glob("*.go"))
        for name in ("go.mod", "go.sum", *sources):
            digest.update((HERE / module / name).read_bytes())
    prefix = f"{programs.name}-" if programs.is_optional else ""
    return prefix + digest.hexdigest()[:12]


def _in_assets(binary: Binary, environment: Mapping[str, str]) -> Path | None:
    """The binary in $KUBEBUILDER_ASSETS, if it is of the pinned version."""
    assets = environment.get("KUBEBUILDER_ASSETS")
    path = Path(assets, binary.name).absolute() if assets else None
    if path is None or not (path.is_file() and os.access(path, os.X_OK)):
        return None
    major, minor, _ = binary.kubernetes
    wanted = r"Version: 3\." if binary.name == "etcd" else rf"v{major}\.{minor}\."
    return path if re.search(wanted, _version_of(path)) else None


@functools.cache
def _version_of(path: Path) -> str:
    arguments = ["version", "--client"] if path.name == "kubectl" else ["--version"]
    try:
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


@dataclass(frozen=True)
class _Go:
    path: str
    version: str


@functools.cache
def _go_version(path: str) -> str:
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    try:
        answer = subprocess.run(
            [path, "env", "GOVERSION"],
            capture_output=True, text=True, timeout=60, check=True, cwd="/", env=environment,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise UnobtainableError(f"cannot build the binaries of the test bed: {error}") from error
    return answer.stdout.strip()


def _go_that_can_build(programs: ProgramSet, environment: Mapping[str, str]) -> _Go:
    needed = _go_needed(programs)
    wanted = f"Go {'.'.join(map(str, needed))} or newer"
    path = shutil.which("go", path=environment.get("PATH", os.defpath))
    if path is None:
        raise UnobtainableError(
            f"binaries of the test bed ({programs.name}) are missing, and Go is not on the PATH to "
            f"build them; install {wanted}"
        )
    go = _Go(path, re.sub(r"[^\w.+-]+", "_", _go_version(path)))
    number = re.search(
        r"go(\d+)\.(\d+)(?:\.(\d+))?", go.version
    )  # a "devel" version may have no number
    have = tuple(int(part or 0) for part in number.groups()) if number else None
    if have is not None and have < needed:
        raise UnobtainableError(
            f"the binaries of the test bed ({programs.name}) need {wanted}; "
            f"{go.path} is {go.version}, and no other toolchain is downloaded"
        )
    return go


def _go_needed(programs: ProgramSet) -> tuple[int, ...]:
    """The highest `go` line of the set's modules, as (major, minor, patch)."""
    lines = []
    for module in programs.modules:
        line = re.search(
            r"^go (\d+)\.(\d+)(?:\.(\d+))?", (HERE / module / "go.mod").read_text(), re.M
        )
        if line is not None:
            lines.append(tuple(int(part or 0) for part in line.groups()))
    return max(lines)


def _build(
    binary: Binary, target: Path, go: _Go, report: Report, environment: Mapping[str, str]
) -> Path:
    if _is_complete(binary, target):  # built by the process that held the lock
        report(f"have  {binary.name:<24} {target}")
        return target
    started = time.monotonic()
    part = target.with_name(f".{binary.name}.{os.getpid()}.part")
    try:
        tags = ["-tags", binary.tags] if binary.tags else []
        command = [*_build_command(binary.kubernetes), *tags, "-o", str(part), binary.package]
        _run_go(binary, go, command, environment)
        if binary.crds:
            _copy_crds(binary, target, go, environment)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    report(f"built {binary.name:<24} {time.monotonic() - started:6.1f} s")
    return target


def _copy_crds(binary: Binary, target: Path, go: _Go, environment: Mapping[str, str]) -> None:
    """Write the CRDs of the program's module into one file. The module was downloaded to build."""
    module, *patterns = binary.crds
    output = _run_go(binary, go, ["list", "-m", "-f", "{{.Dir}}", module], environment)
    source = Path(output.splitlines()[-1])
    files = [file for pattern in patterns for file in sorted(source.glob(pattern))]
    if not files:
        raise BuildFailedError(f"cannot build {binary.name}: no CRDs in {source}")
    part = target.with_name(f".{binary.name}.crds.{os.getpid()}.part")
    part.write_text("\n---\n".join(file.read_text() for file in files))
    part.replace(crds_file(target))


def _run_go(
    binary: Binary, go: _Go, arguments: Sequence[str], environment: Mapping[str, str]
) -> str:
    """Run Go in the module of a binary and return its output."""
    settings = {
        **environment,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",  # never download a toolchain
        "GOFLAGS": "-mod=readonly",  # go.sum is the pin: any other module is an error
        "GOWORK": "off",
    }
    process = subprocess.Popen(
        [go.path, *arguments],
        cwd=HERE / binary.module,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its compilers can be killed with it
    )
    try:
        output, _ = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        lines = output.splitlines() or [f"go exited with status {process.returncode}"]
        raise BuildFailedError(
            "\n".join([f"cannot build {binary.name}: {lines[-1]}", *lines[-21:-1]])
        )
    return output


@contextlib.contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    """Hold an exclusive lock on the file. The kernel releases it when the process ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("wait  another build is running")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
