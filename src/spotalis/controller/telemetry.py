"""What the operator reports about itself while it runs."""

from __future__ import annotations

from spotalis.controller.cluster import WorkloadKey
from spotalis.controller.result import ReconcileResult
from spotalis.kube.watch import WatchReport


class Telemetry:
    """Receives reports from the operator.

    Every method does nothing by default; a subclass overrides those that it needs. The methods are
    called from the event loop and must neither block nor raise.
    """

    def on_reconcile(self, result: ReconcileResult, seconds: float) -> None:
        """A reconcile of a managed workload has completed."""

    def on_reconcile_error(self, key: WorkloadKey, error: Exception) -> None:
        """A reconcile has failed and will be retried."""

    def on_admission(self, result: str) -> None:
        """An admission request has been answered: how the pod was placed, or why it was not."""

    def on_forward(self, result: str) -> None:
        """An admission request has been forwarded to the leader, or could not be."""

    def on_request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """The API server has answered a request; ``status`` is 0 if it did not answer."""

    def on_leadership_change(self, leads: bool) -> None:
        """This instance has become the leader, or has lost leadership."""

    def on_watch(self, report: WatchReport) -> None:
        """A watch has failed, or has recovered by itself."""
