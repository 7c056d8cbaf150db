"""Mutants of the ports and the certificates that unit tests and contract tests must find."""

from __future__ import annotations

from tests.mutants.mutant import mutant

ROTATION = "tests/unit/webhook/test_rotation_plan.py"
CONNECTIONS = "tests/unit/webhook/test_connections.py"
SERVER = "tests/unit/webhook/test_server.py"
PLAIN = "tests/unit/web/test_server.py"
LOOKUP = "tests/unit/webhook/test_owner_lookup.py"
UNKNOWN = "tests/unit/webhook/test_unknown_clients.py"
BUDGET = "tests/unit/web/test_event_loop_budget.py"
CLIENT = "tests/unit/kube/test_client.py"
WAITING = "tests/unit/kube/test_waiting.py"
CERTIFICATES = "tests/contract/test_certificate_rotation.py"

PORT_MUTANTS = (
    mutant(
        "a renewal of the certificate comes before the end of a change of authority",
        "webhook/rotation_plan.py",
        "(1 + lifetimes.renewal) / 2",
        "lifetimes.renewal",
        ROTATION,
    ),
    mutant(
        "a third authority joins before the first one is removed",
        "webhook/rotation_plan.py",
        "    elif now >= _renewal_time(signing",
        "    if now >= _renewal_time(signing",
        ROTATION,
    ),
    mutant(
        "a certificate from the future is used",
        "webhook/rotation_plan.py",
        "    return info.issued_at - BACKDATED <= now < info.expires_at\n",
        "    return now < info.expires_at\n",
        ROTATION,
    ),
    mutant(
        "the clock of the node decides about certificates",
        "webhook/certificate_rotation.py",
        "        return self._clock.now() + self._client.clock_skew()\n",
        "        return self._clock.now()\n",
        CERTIFICATES,
    ),
    mutant(
        "an idle known client gives way to a new handshake",
        "web/connections.py",
        "    slow = [one for one in unknown or connections if one.can_drop(now)]\n",
        "    slow = [one for one in connections if one.can_drop(now)]\n",
        CONNECTIONS,
    ),
    mutant(
        "every answered client is known",
        "webhook/server.py",
        "        if answer.is_known_client:\n",
        "        if answer.body:\n",
        CONNECTIONS,
    ),
    mutant(
        "a client that invents owners is known",
        "webhook/admission.py",
        "is_known_client=decision.result not in _WITHOUT_OWNER",
        "is_known_client=True",
        "tests/contract/test_admission_requests.py",
    ),
    mutant(
        "a namespace takes all places for lookups of unknown owners",
        "webhook/places.py",
        "        if self._taken[namespace] >= self._free:\n",
        "        if not self._free:\n",
        LOOKUP,
    ),
    mutant(
        "an owner that was read gives back its place at once",
        "webhook/owner_lookup.py",
        "call_later(READ_HOLD_SECONDS,",
        "call_later(0.0,",
        LOOKUP,
    ),
    mutant(
        "each request for an unknown owner reads it",
        "webhook/owner_lookup.py",
        "        reading = self._reading.get(key)\n",
        "        reading = None\n",
        LOOKUP,
    ),
    mutant(
        "requests that wait for unknown owners have no limit",
        "webhook/owner_lookup.py",
        "        if not self._waits.take(namespace):\n",
        "        if not (self._waits.take(namespace) or True):\n",
        LOOKUP,
    ),
    mutant(
        "requests that wait for a change of a full workload have no limit",
        "webhook/admission.py",
        "remaining > 0 and self._waits.take(request.namespace):\n",
        "remaining > 0 and (self._waits.take(request.namespace) or True):\n",
        "tests/contract/test_admission_requests.py",
    ),
    mutant(
        "handshakes never give way",
        "web/connections.py",
        "        is_waiting_for_client = not self.is_answering or self.writing_paused\n",
        "        is_waiting_for_client = self.stage is not Stage.HANDSHAKE\n",
        CONNECTIONS,
    ),
    mutant(
        "a handshake has ten seconds",
        "web/listener.py",
        "_HANDSHAKE_SECONDS = 5.0\n",
        "_HANDSHAKE_SECONDS = 10.0\n",
        CONNECTIONS,
    ),
    mutant(
        "an incomplete head has no limit",
        "web/connections.py",
        "        if self._head_bytes > _HEAD_BYTES:\n",
        "        if self._head_bytes < 0:\n",
        CONNECTIONS,
    ),
    mutant(
        "connections of the metrics port stay open",
        "web/server.py",
        "        response.force_close()\n        return response\n\n    def _error",
        "        return response\n\n    def _error",
        PLAIN,
    ),
    mutant(
        "scrapes without a reader hold the places of others",
        "web/server.py",
        "(slowest := find_slowest(scraping)) is not None",
        "(slowest := find_slowest([])) is not None",
        PLAIN,
    ),
    mutant(
        "slow large bodies hold the memory of others",
        "webhook/bodies.py",
        "            if oldest is not None and now - oldest.since >= _PATIENCE_SECONDS:\n",
        "            if oldest is not None and not now:\n",
        SERVER,
    ),
    mutant(
        "a second Content-Encoding is overlooked",
        "webhook/server.py",
        'set(request.headers.getall("Content-Encoding", []))',
        '{request.headers.get("Content-Encoding", "identity")}',
        SERVER,
    ),
    mutant(
        "the name of an owner becomes part of a path",
        "kube/resources.py",
        "            if segment and not is_path_segment(segment):\n",
        "            if segment and not segment.strip():\n",
        CLIENT,
    ),
    mutant(
        "an object without a name is read from the whole collection",
        "kube/resources.py",
        "        if not name or (self.namespaced and not namespace):\n",
        "        if self.namespaced and not namespace:\n",
        CLIENT,
    ),
    mutant(
        "callers choose the labels of metrics",
        "kube/exchange.py",
        '                resource = "other"\n',
        "                pass\n",
        CLIENT,
    ),
    mutant(
        "requests about Rollouts are counted as other",
        "kube/resources.py",
        "NODE_POOLS, ROLLOUTS),",
        "NODE_POOLS),",
        "tests/unit/kube/test_client.py",
    ),
    mutant(
        "an expired list of Events is read without pages",
        "kube/client.py",
        "        except Gone:\n            pass\n        return found\n",
        "        except Gone:\n"
        "            return await self._list_by(0, resource, namespace, [], [])\n"
        "        return found\n",
        CLIENT,
    ),
    mutant(
        "an invented pod shows that the API server calls the webhook",
        "webhook/admission.py",
        "        if resolved is None:\n            return AdmissionDecision(",
        "        self._observer.webhook_called = True\n"
        "        if resolved is None:\n            return AdmissionDecision(",
        "tests/contract/test_admission_requests.py",
    ),
    mutant(
        "a client key is written to a disk",
        "kube/tls.py",
        '    if not hasattr(os, "memfd_create"):\n',
        "    if content:\n",
        "tests/unit/kube/test_http_tls.py",
    ),
    mutant(
        "known clients wait for unknown ones",
        "web/connections.py",
        "        if self.stage is Stage.KNOWN:\n            return\n",
        "",
        UNKNOWN,
    ),
    mutant(
        "handling a request of an unknown client costs nothing",
        "web/connections.py",
        "            self._budget.charge(seconds)\n",
        "            self._budget.charge(0.0)\n",
        UNKNOWN,
    ),
    mutant(
        "a client that has taken much time has its turn before others",
        "web/connections.py",
        "        return int(self._taken_seconds / _PRIORITY_SECONDS)\n",
        "        return 0\n",
        UNKNOWN,
    ),
    mutant(
        "a request that is rejected by its head waits for no turn",
        "webhook/server.py",
        "        except RequestRejected:\n            await self._take_turn(request, connection)\n",
        "        except RequestRejected:\n",
        UNKNOWN,
    ),
    mutant(
        "a request waits for its turn as long as the client does",
        "webhook/server.py",
        "            await within(self._limits.answer_timeout_seconds, connection.take_turn())\n",
        "            await connection.take_turn()\n",
        UNKNOWN,
    ),
    mutant(
        "bodies of unknown clients are read without a pause",
        "web/connections.py",
        "            tcp.pause_reading()\n",
        "",
        UNKNOWN,
    ),
    mutant(
        "reading from known clients is paused",
        "web/connections.py",
        "        if self.stage is Stage.CONNECTED and self._pause is None:\n",
        "        if self._pause is None:\n",
        UNKNOWN,
    ),
    mutant(
        "handshakes begin without a turn",
        "web/listener.py",
        "            await budget.turn(0)\n",
        "",
        UNKNOWN,
    ),
    mutant(
        "all turns are given in one iteration of the loop",
        "web/event_loop_budget.py",
        "                    self.charge(_TURN_SECONDS)\n                    break\n",
        "                    self.charge(_TURN_SECONDS)\n",
        BUDGET,
    ),
    mutant(
        "the budget grows without a limit",
        "web/event_loop_budget.py",
        "min(self._burst, self._balance + earned), now",
        "self._balance + earned, now",
        BUDGET,
    ),
    mutant(
        "a turn itself costs nothing",
        "web/event_loop_budget.py",
        "                    self.charge(_TURN_SECONDS)\n",
        "",
        BUDGET,
    ),
    mutant(
        "a request that has to wait has no deadline",
        "kube/waiting.py",
        "        async with timer:\n            return await _resume(coroutine, awaited)\n",
        "        return await _resume(coroutine, awaited)\n",
        WAITING,
    ),
    mutant(
        "any timeout counts as the deadline",
        "kube/waiting.py",
        "        if timer.expired():\n",
        "        if timer:\n",
        WAITING,
    ),
)
