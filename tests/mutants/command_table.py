"""Mutants of the command line and of its transport that unit tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant

HTTP = "tests/unit/kube/test_http.py"
TLS = "tests/unit/kube/test_http_tls.py"
MAIN = "tests/unit/cli/test_main.py"
TALK = "tests/unit/cli/test_talk.py"
VIEW = "tests/unit/controller/test_nodes_view.py"
PLAN = "tests/integration/scenarios/test_plan_command.py"

COMMAND_MUTANTS = (
    mutant(
        "a command sends a write again",
        "kube/http_threads.py",
        "retries=False,",
        "retries=3,",
        HTTP,
    ),
    mutant(
        "a command reads a stream until its end before it yields",
        "kube/http_threads.py",
        "preload_content=not streams,",
        "preload_content=True,",
        HTTP,
    ),
    mutant(
        "a command trusts an authority until its end",
        "kube/http_threads.py",
        "            requests.reread_ca()\n",
        "            pass\n",
        TLS,
    ),
    mutant(
        "a closed transport of a command sends requests",
        "kube/http_threads.py",
        "        if self._closed:\n            raise TransportError(",
        "        if False:\n            raise TransportError(",
        HTTP,
    ),
    mutant(
        "a fix names the program that was not called",
        "cli/main.py",
        "    print(as_called(str(error), program), file=sys.stderr)\n",
        '    print(as_called(str(error), "spotalis"), file=sys.stderr)\n',
        MAIN,
    ),
    mutant(
        "the fix of a command ignores its context",
        "cli/connect.py",
        '*("kubeconfig", "context", "cluster"',
        '*("kubeconfig", "cluster"',
        MAIN,
    ),
    mutant(
        "an old API server is reported as a missing object",
        "cli/cluster_flags.py",
        "            await check_server_version(connection.client())\n",
        "",
        TALK,
    ),
    mutant(
        "progress is written into a pipe",
        "cli/progress.py",
        "    if not sys.stderr.isatty():\n",
        "    if False:\n",
        TALK,
    ),
    mutant(
        "the pin of a capacity type is computed for each workload",
        "controller/nodes.py",
        "        if question not in self._pins:\n",
        "        if True:\n",
        VIEW,
    ),
    mutant(
        "the last node of a NodePool leaves a provisioner behind",
        "controller/nodes.py",
        "(self._of_pools.add if NODE_POOL in new.labels else self._of_pools.discard)(new.name)",
        "self._of_pools.update({new.name} if NODE_POOL in new.labels else ())",
        VIEW,
    ),
    mutant(
        "the note about changed replicas names the old split",
        "cli/overlay.py",
        "desired_spot(replicas, policy",
        "desired_spot(workload.replicas, policy",
        PLAN,
    ),
)
