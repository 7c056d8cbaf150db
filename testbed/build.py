"""Find the binaries of the real test bed, and build those that are missing.

    python testbed/build.py            build missing binaries; print one line per binary
    python testbed/build.py --where    print the path of each binary; build nothing

The control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler), kubectl and kwok
are built from Go modules. Three small modules in this folder list them as tools; the committed
go.sum files pin the versions. The first build on a machine takes about eight minutes on two cores.

Each binary is searched for in this order:

1. the folder $KUBEBUILDER_ASSETS, as `setup-envtest` sets it, if the binary there reports the
   pinned Kubernetes minor version (etcd: any 3.x). This folder never contains all six binaries.
2. the cache folder: $XDG_CACHE_HOME/spotalis/testbed/<stamp>, by default under ~/.cache. The stamp
   is derived from the go.mod and go.sum files, the build flags and the Go version.
3. a build with the Go on the PATH. Go never downloads another toolchain.

Of two concurrent builds, the second waits for the first. An interrupted build leaves no partial
binary behind.

Exit status: 0 all binaries are available, 1 a build failed, 3 Go is missing or too old,
130 interrupted. Needs Python 3.11 and the standard library only.
"""

from __future__ import annotations

import argparse
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
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
"""The folder with the three Go modules."""

KUBERNETES = (1, 36, 1)
"""The pinned Kubernetes version, as in kubernetes/go.mod. The binaries report it."""

_VERSION = ".".join(map(str, KUBERNETES))
_VERSION_VARIABLES = "k8s.io/component-base/version"
_LINKER_FLAGS = " ".join(
    [
        "-s -w",
        f"-X {_VERSION_VARIABLES}.gitVersion=v{_VERSION}",
        f"-X {_VERSION_VARIABLES}.gitMajor={KUBERNETES[0]}",
        f"-X {_VERSION_VARIABLES}.gitMinor={KUBERNETES[1]}",
    ]
)
_BUILD = ["build", "-trimpath", "-buildvcs=false", "-ldflags", _LINKER_FLAGS]


@dataclass(frozen=True)
class Binary:
    """A program of the test bed: its name, the folder of its Go module, its Go package."""

    name: str
    module: str
    package: str


BINARIES = (
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Binary("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Binary(
        "kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"
    ),
    Binary("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Binary("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
)
"""All programs of the test bed, in build order."""


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
    report: Report = print_now, environment: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """Find all binaries and build those that are missing. Returns paths by name.

    Raises UnobtainableError, BuildFailedError, and OSError if the cache folder is not writable.
    """
    found = find(environment)
    for name, path in found.items():
        report(f"have  {name:<24} {path}")
    missing = [binary for binary in BINARIES if binary.name not in found]
    if not missing:
        return found
    go = _go_that_can_build(environment)
    folder = cache_folder(go.version, environment)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock", report):
        # Left by interrupted builds: this process holds the lock.
        for leftover in folder.glob(".*.part"):
            leftover.unlink()
        for binary in missing:
            found[binary.name] = _build(binary, folder / binary.name, go, report, environment)
    return {binary.name: found[binary.name] for binary in BINARIES}


def find(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Find existing binaries without building. Returns paths by name; missing ones are omitted."""
    folders = _cache_folders(environment)
    found: dict[str, Path] = {}
    for binary in BINARIES:
        path = _in_assets(binary.name, environment)
        candidates = [folder / binary.name for folder in folders] if path is None else [path]
        for candidate in candidates:
            if os.access(candidate, os.X_OK) and candidate.is_file():
                found[binary.name] = candidate
                break
    return found


def cache_folder(go_version: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for binaries that this Go version ("go1.26.8") builds from the current pins."""
    return _cache_root(environment) / f"{_pins()}-{go_version}"


def _cache_root(environment: Mapping[str, str]) -> Path:
    base = environment.get(
        "XDG_CACHE_HOME", ""
    )  # the XDG specification says to ignore relative paths
    home = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return home / "spotalis" / "testbed"


def _cache_folders(environment: Mapping[str, str]) -> list[Path]:
    """The folder of the installed Go, or without a usable Go all folders of the same pins."""
    with contextlib.suppress(UnobtainableError):
        return [cache_folder(_go_that_can_build(environment).version, environment)]
    folders = _cache_root(environment).glob(f"{_pins()}-*")
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


@functools.cache
def _pins() -> str:
    """Twelve hexadecimal digits that change with any pin, the build flags and the platform."""
    digest = hashlib.sha256(" ".join([*_BUILD, platform.machine()]).encode())
    for module in sorted({binary.module for binary in BINARIES}):
        for name in ("go.mod", "go.sum"):
            digest.update((HERE / module / name).read_bytes())
    return digest.hexdigest()[:12]


def _in_assets(name: str, environment: Mapping[str, str]) -> Path | None:
    """The binary in $KUBEBUILDER_ASSETS, if it is of the pinned version."""
    assets = environment.get("KUBEBUILDER_ASSETS")
    path = Path(assets, name).absolute() if assets else None
    if path is None or not (path.is_file() and os.access(path, os.X_OK)):
        return None
    wanted = r"Version: 3\." if name == "etcd" else rf"v{KUBERNETES[0]}\.{KUBERNETES[1]}\."
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


def _go(environment: Mapping[str, str]) -> _Go:
    path = shutil.which("go", path=environment.get("PATH", os.defpath))
    if path is None:
        raise UnobtainableError(
            "binaries of the test bed are missing, and Go is not on the PATH to build them; "
            f"install Go {'.'.join(map(str, _go_needed()))} or newer"
        )
    return _Go(path, re.sub(r"[^\w.+-]+", "_", _go_version(path)))


def _go_that_can_build(environment: Mapping[str, str]) -> _Go:
    go = _go(environment)
    number = re.search(
        r"go(\d+)\.(\d+)(?:\.(\d+))?", go.version
    )  # a "devel" version may have no number
    have = tuple(int(part or 0) for part in number.groups()) if number else None
    if have is not None and have < _go_needed():
        raise UnobtainableError(
            f"the binaries of the test bed need Go {'.'.join(map(str, _go_needed()))} or newer; "
            f"{go.path} is {go.version}, and no other toolchain is downloaded"
        )
    return go


def _go_needed() -> tuple[int, ...]:
    """The highest `go` line of the three modules, as (major, minor, patch)."""
    lines = []
    for module in {binary.module for binary in BINARIES}:
        line = re.search(
            r"^go (\d+)\.(\d+)(?:\.(\d+))?", (HERE / module / "go.mod").read_text(), re.M
        )
        if line is not None:
            lines.append(tuple(int(part or 0) for part in line.groups()))
    return max(lines)


def _build(
    binary: Binary, target: Path, go: _Go, report: Report, environment: Mapping[str, str]
) -> Path:
    if target.exists():  # built by the process that held the lock
        report(f"have  {binary.name:<24} {target}")
        return target
    part = target.with_name(f".{binary.name}.{os.getpid()}.part")
    settings = {
        **environment,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",  # never download a toolchain
        "GOFLAGS": "-mod=readonly",  # go.sum is the pin: any other module is an error
        "GOWORK": "off",
    }
    started = time.monotonic()
    command = [go.path, *_BUILD, "-o", str(part), binary.package]
    process = subprocess.Popen(
        command,
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
        if process.returncode != 0:
            lines = output.splitlines() or [f"go exited with status {process.returncode}"]
            raise BuildFailedError(
                "\n".join([f"cannot build {binary.name}: {lines[-1]}", *lines[-21:-1]])
            )
        part.replace(target)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        part.unlink(missing_ok=True)
    report(f"built {binary.name:<24} {time.monotonic() - started:6.1f} s")
    return target


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


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line; return the exit status, listed at the top of this file."""
    parser = argparse.ArgumentParser(description="build the binaries of the real test bed")
    parser.add_argument(
        "--where", action="store_true", help="print the path of each binary; build nothing"
    )
    if parser.parse_args().where:
        found = find()
        for binary in BINARIES:
            print_now(f"{binary.name:<24} {found.get(binary.name, 'missing')}")
        return 0 if len(found) == len(BINARIES) else 3
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        obtain()
    except UnobtainableError as error:
        print(error, file=sys.stderr)
        return 3
    except BuildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished binaries are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
