"""Mutants of the command line and of its transport that unit tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

HTTP = "tests/unit/kube/test_http.py"
TLS = "tests/unit/kube/test_http_tls.py"
MAIN = "tests/unit/cli/test_main.py"
TALK = "tests/unit/cli/test_talk.py"
GATES = "tests/unit/cli/test_gates.py"
STATUS = "tests/unit/cli/test_status.py"
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
    mutant(
        "the bug report contains the values of flags",
        "cli/bug_report.py",
        'word.partition("=")[0] for word in arguments if word.startswith("-")',
        'word for word in arguments if word.startswith("-")',
        STATUS,
    ),
    mutant(
        "an expired token is reported as a wrong one",
        "kube/config/credentials.py",
        "expired_at is not None and expired_at <= now",
        "expired_at is not None and expired_at > now",
        "tests/unit/cli/test_rejected_credentials.py",
    ),
    mutant(
        "the last move is the first one",
        "cli/waiting.py",
        "max((at for at in",
        "min((at for at in",
        GATES,
    ),
    mutant(
        "a move does not name the move before it",
        "cli/views.py",
        "        before = step.moves\n",
        "",
        GATES,
    ),
    mutant(
        "a planned move does not name its budgets",
        "cli/views.py",
        'gates=[*earlier, *(f"pdb/{name}" for name in of_pods.names(move.pod))]',
        "gates=earlier",
        GATES,
    ),
    mutant(
        "--watch-only prints the present state",
        "cli/watching.py",
        "is_first, quiet = True, arguments.watch_only",
        "is_first, quiet = True, False",
        scenario(
            "plan_command",
            "a_watch_prints_the_changes_and_without_watch_only_the_present_state",
        ),
    ),
    mutant(
        "events of the same second are in the order of their names",
        "cli/reported_events.py",
        "int(version) if version.isdecimal() else 0",
        "0",
        scenario(
            "plan_command",
            "events_of_the_same_second_are_shown_in_the_order_of_their_last_report",
        ),
    ),
    mutant(
        "the plan moves the same pod again",
        "planner/forecast.py",
        "        if replica.pod.uid in moved\n",
        "        if False\n",
        scenario(
            "plan_command",
            "the_operator_makes_the_moves_that_plan_shows_of_many_workloads",
        ),
    ),
)
