"""Errors of the control plane of the test bed."""


class ControlPlaneError(Exception):
    """A process of the control plane failed; the message ends with the last lines of its log."""


class KubectlError(ControlPlaneError):
    """kubectl failed; the message is its output."""
