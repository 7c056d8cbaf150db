"""Mutants of the connection to the cluster, of addresses and of names that unit tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant, scenario

KUBECONFIGS = "tests/unit/kube/test_kubeconfigs.py"
CREDENTIALS = "tests/unit/kube/test_credentials.py"
ACCESS = "tests/unit/kube/test_access.py"
TLS = "tests/unit/kube/test_http_tls.py"
SOURCES = "tests/unit/settings/test_sources.py"
CONNECTIONS = "tests/unit/webhook/test_connections.py"

CONNECTION_MUTANTS = (
    mutant(
        "base64 data of a kubeconfig must be on one line",
        "kube/config/users.py",
        're.sub(r"[\\r\\n]", "", data)',
        "data",
        KUBECONFIGS,
    ),
    mutant(
        "times and dates in a kubeconfig are not text",
        "kube/config/yaml_document.py",
        "    return float(digits) if _FLOAT.fullmatch(digits) else text\n",
        '    return float(digits) if _FLOAT.fullmatch(re.sub("[-:]", "", digits)) else text\n',
        KUBECONFIGS,
    ),
    mutant(
        "y is text in a kubeconfig",
        "kube/config/yaml_document.py",
        '("y", "Y", "yes", "Yes", "YES", "on", "On", "ON")',
        '("yes", "Yes", "YES", "on", "On", "ON")',
        KUBECONFIGS,
    ),
    mutant(
        "a merge does not overwrite the keys in front of it",
        "kube/config/yaml_document.py",
        "                found.update(self._merged(value))\n",
        "                found = {**self._merged(value), **found}\n",
        KUBECONFIGS,
    ),
    mutant(
        "the last of two duplicate keys wins",
        "kube/config/yaml_document.py",
        "            if key in own:\n",
        "            if key in own and not key:\n",
        KUBECONFIGS,
    ),
    mutant(
        "an entry of a kubeconfig that is not used must have a name",
        "kube/config/kubeconfig.py",
        "class _NamedUser(msgspec.Struct):\n    name: str | None = None\n",
        "class _NamedUser(msgspec.Struct):\n    name: str\n",
        KUBECONFIGS,
    ),
    mutant(
        "the first of two entries with the same name wins",
        "kube/config/kubeconfig.py",
        "        if name in found:\n",
        "        if name in found and not name:\n",
        KUBECONFIGS,
    ),
    mutant(
        "a comment in a CA bundle must be ASCII",
        "kube/tls.py",
        "        trust(context, ca)\n",
        '        context.load_verify_locations(cadata=ca.decode("ascii", "replace"))\n',
        TLS,
    ),
    mutant(
        "a CA bundle without a certificate trusts nothing, silently",
        "kube/tls.py",
        "    if not found:\n",
        "    if not found and not bundle:\n",
        TLS,
    ),
    mutant(
        "the operator waits until helpers of a plugin close stderr",
        "kube/config/exec_plugin.py",
        "            stderr=stderr,\n",
        "            stderr=asyncio.subprocess.PIPE,\n",
        CREDENTIALS,
    ),
    mutant(
        "a missing token file is an error although there is a token",
        "kube/config/credentials.py",
        "            if self._token and self._held is None:\n",
        "            if self._token and self._held is not None:\n",
        CREDENTIALS,
    ),
    mutant(
        "a plugin takes precedence over a client certificate",
        "kube/config/users.py",
        " and not has_token and not has_certificate:",
        " and not has_token:",
        ACCESS,
    ),
    mutant(
        "a token is sent to a server without TLS",
        "kube/config/access.py",
        '    if server.startswith("https:"):\n        credentials =',
        '    if server.startswith("http"):\n        credentials =',
        ACCESS,
    ),
    mutant(
        "the name of an Event is longer than 253 characters",
        "controller/events.py",
        'append_suffix(workload.name, f".{digest}")',
        'f"{workload.name}.{digest}"',
        "tests/unit/controller/test_event_recorder.py",
        scenario("long_names", "a_workload_with_a_long_name_is_split_and_gets_its_events"),
    ),
    mutant(
        "the end of a name is cut, with its suffix",
        "model/names.py",
        'return name[: max_length - len(suffix)].rstrip("-.") + suffix',
        'return (name + suffix)[:max_length].rstrip("-.")',
        "tests/unit/model/test_names.py",
        "tests/unit/controller/test_event_recorder.py",
    ),
    mutant(
        "the webhook listens on IPv4 only",
        "web/sockets.py",
        "socket.getaddrinfo(name, port, type",
        "socket.getaddrinfo(name, port, socket.AF_INET if name is None else 0, type",
        CONNECTIONS,
    ),
    mutant(
        "a service link is read as a setting",
        "settings/sources.py",
        '            if _SERVICE_LINK.fullmatch(f"{name}={text}"):\n',
        '            if name not in by_variable and _SERVICE_LINK.fullmatch(f"{name}={text}"):\n',
        SOURCES,
    ),
)
