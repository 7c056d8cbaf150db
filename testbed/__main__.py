"""Build the binaries of the real test bed.

    python -m testbed              build everything that is missing; print one line per binary
    python -m testbed karpenter    build one set: control-plane, karpenter, ...
    python -m testbed --where      print the path of each binary; build nothing

The control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler), kubectl and kwok
are built from Go modules, and so are the optional programs that tests run beside it: Karpenter,
the controller of Argo Rollouts, Prometheus, cert-manager, Helm and actionlint. Small modules in
this folder list them as tools; the committed go.sum files pin the versions. The first build on a
machine takes about eight minutes on two cores for the control plane, and about five for each
optional program. If an optional program cannot be built, it is skipped with one line, except where
CI=true.

Exit status: 0 all required binaries are available, 1 a build failed, 3 Go is missing or too old,
130 interrupted. build.py says where binaries are searched for.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from testbed.build import BuildFailedError, UnobtainableError, find, obtain, print_now
from testbed.programs import PROGRAM_SETS, ProgramSet


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _obtain_each(chosen: Sequence[ProgramSet]) -> None:
    """Build the sets; skip optional ones that cannot be built, unless the environment says CI."""
    for programs in chosen:
        try:
            obtain(programs)
        except (UnobtainableError, BuildFailedError) as error:
            if not programs.is_optional or os.environ.get("CI") == "true":
                raise
            print_now(f"skip  {programs.name:<24} {str(error).splitlines()[0]}")


def _print_paths(chosen: Sequence[ProgramSet]) -> int:
    is_complete = True
    for programs in chosen:
        found = find(programs)
        for binary in programs.binaries:
            print_now(f"{binary.name:<24} {found.get(binary.name, 'missing')}")
        is_complete &= programs.is_optional or len(found) == len(programs.binaries)
    return 0 if is_complete else 3


def main() -> int:
    """Run the command line; return the exit status, listed at the top of this file."""
    by_name = {programs.name: programs for programs in PROGRAM_SETS}
    parser = argparse.ArgumentParser(description="build the binaries of the real test bed")
    parser.add_argument(
        "sets", nargs="*", metavar="SET", help=f"{', '.join(by_name)}; all by default"
    )
    parser.add_argument(
        "--where", action="store_true", help="print the path of each binary; build nothing"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - set(by_name):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(by_name)}")
    chosen = [by_name[name] for name in arguments.sets or by_name]
    if arguments.where:
        return _print_paths(chosen)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _obtain_each(chosen)
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
