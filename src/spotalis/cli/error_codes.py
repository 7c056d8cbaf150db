"""What every error code means: `spotalis key SP101`, and docs/reference/errors.md, print this."""

from __future__ import annotations

from typing import NamedTuple


class ErrorHelp(NamedTuple):
    """The description of a code. In the texts, names between backticks are as typed."""

    meaning: str
    """What has happened, as a sentence."""
    fix: str
    """What to do, as one or more sentences."""
    meanwhile: str = ""
    """What happens until then, as a sentence."""


ERRORS = {
    "SP001": ErrorHelp(
        "No cluster is configured: there is no kubeconfig, or it has no current context.",
        "Name a file with `--kubeconfig` or `$KUBECONFIG`, or a context with `--context`. "
        "`kubectl config get-contexts` lists the contexts.",
    ),
    "SP002": ErrorHelp(
        "The API server did not respond: it is down, its address is wrong, or something on the "
        "way blocks the connection.",
        "Compare with `kubectl get --raw /readyz` for the same context. `--request-timeout` allows "
        "more time.",
        "Pods are created unchanged while the operator does not run.",
    ),
    "SP003": ErrorHelp(
        "The API server denied a request, because the user lacks a permission.",
        "Ask for the permission that the message names. `kubectl auth can-i --list` shows what you "
        "have, and `spotalis doctor --pre` what each command needs. Commands that look can be "
        "limited to a namespace with `-n`.",
    ),
    "SP004": ErrorHelp(
        "The kubeconfig is not valid YAML, or holds a value that cannot be used.",
        "Correct the line that the message names. `kubectl config view` shows what kubectl reads.",
    ),
    "SP005": ErrorHelp(
        "The kubeconfig has no context, cluster or user of this name.",
        "`kubectl config get-contexts` lists the contexts. Names are case-sensitive.",
    ),
    "SP006": ErrorHelp(
        "No credentials can be obtained: a credential plugin failed, a token file cannot be read, "
        "or the kind of credentials is not supported.",
        "Run the command of the plugin yourself and fix what it reports; often you have to log in "
        "again. docs/reference/kubeconfig.md lists what is supported.",
    ),
    "SP007": ErrorHelp(
        "A certificate or key of the kubeconfig, or of a flag, cannot be read.",
        "Correct the path. Data in the kubeconfig must be base64 of PEM text.",
    ),
    "SP008": ErrorHelp(
        "The namespace of the operator does not exist. The operator keeps its Lease and its "
        "ledgers there.",
        "Install Spotalis, or create the namespace. `spotalis status -A` needs none.",
        "Nothing was started.",
    ),
    "SP009": ErrorHelp(
        "An object or an API that should exist does not.",
        "Operator: apply `build/k8s/install.yaml`. Commands: check that the address in the "
        "kubeconfig is that of an API server; `kubectl api-resources` lists its APIs.",
    ),
    "SP010": ErrorHelp(
        "The API server rejected the credentials. They are wrong, or they have expired. A "
        "credential plugin was asked once more before this error.",
        "Log in again with the tool of your provider, or choose another `--context` or `--user`. "
        "`kubectl auth whoami` shows whether the new credentials work.",
    ),
    "SP011": ErrorHelp(
        "The API server failed with an unusual status.",
        "Compare with `kubectl get --raw /readyz` for the same context, and see the log of the API "
        "server.",
    ),
    "SP012": ErrorHelp(
        "The version of Kubernetes is older than 1.30, the oldest one that Spotalis supports.",
        "Upgrade the cluster.",
    ),
    "SP020": ErrorHelp(
        "The command line is wrong: an unknown command or flag, or a value that cannot be used.",
        "`spotalis COMMAND --help` lists the flags of a command.",
        "Nothing was done.",
    ),
    "SP023": ErrorHelp(
        "At least one setting of the operator is invalid. All problems are listed at once.",
        "Correct the lines; `spotalis config --schema` prints the JSON Schema, and "
        "docs/reference/configuration.md describes every setting.",
        "Nothing was started.",
    ),
    "SP024": ErrorHelp(
        "The settings file of the operator cannot be read.",
        "Correct the path in `--config` or `$SPOTALIS_CONFIG`.",
        "Nothing was started.",
    ),
    "SP030": ErrorHelp(
        "A port that the operator listens on is in use.",
        "Stop the other process, or set `--webhook-port`, `--metrics-port` or `--health-port`.",
        "Nothing was started.",
    ),
    "SP031": ErrorHelp(
        "No certificate can be used for the webhook.",
        "Check `--certificate-file` and `--key-file`: they must be one pair, in PEM.",
        "Nothing was started.",
    ),
    "SP032": ErrorHelp(
        "A file or a network address cannot be used.",
        "See what the message names: a missing file, a missing permission, a full disk.",
    ),
    "SP040": ErrorHelp(
        "A step of the demo did not end as expected.",
        "Run it again. If it fails again, report it with the output.",
    ),
    "SP041": ErrorHelp(
        "The demo could not start.",
        "The message says why. The demo needs a free port on 127.0.0.1, and no cluster.",
    ),
    "SP042": ErrorHelp(
        "`status --wait` has nothing to wait for, because no workload is selected.",
        "Name a workload, or select another namespace with `-n` or `-A`. Only opted-in workloads "
        "count.",
    ),
    "SP043": ErrorHelp(
        "The object that you named does not exist in the namespace.",
        "Correct the name, or select the namespace with `-n`. The message suggests a similar name "
        "if there is one.",
    ),
    "SP044": ErrorHelp(
        "A manifest cannot be read.",
        "Name a file, a directory, or `-` for standard input.",
    ),
    "SP045": ErrorHelp(
        "The command needs packages that are not installed: only `controller` and `demo` do.",
        "`pip install 'spotalis[controller]'`",
    ),
    "SP100": ErrorHelp(
        "The file is not YAML.",
        "Correct the syntax. Render a Helm chart first: `helm template CHART | spotalis validate "
        "-`.",
        "Nothing of the file is checked.",
    ),
    "SP101": ErrorHelp(
        "A value is invalid, or half of a window is missing.",
        "Write a value that `spotalis key NAME` describes, in quotes.",
        "The workload is left unchanged and reports InvalidPolicy.",
    ),
    "SP102": ErrorHelp(
        "A value is a number or a truth value in YAML. `validate --fix` corrects it.",
        "Write the value in quotes.",
        "The API server rejects the manifest.",
    ),
    "SP103": ErrorHelp(
        "The object is not a valid Deployment, StatefulSet or Rollout.",
        "Correct the field that the message names.",
        "The API server rejects the manifest.",
    ),
    "SP201": ErrorHelp(
        "A value has no effect, for example a key in the pod template.",
        "See the message.",
        "The rest of the policy applies.",
    ),
    "SP202": ErrorHelp(
        "Spotalis does not read this key. `validate --fix` corrects it if it is similar to a known "
        "one.",
        "Correct or remove it. `spotalis key --list` prints the keys.",
        "The key is ignored.",
    ),
    "SP301": ErrorHelp(
        "The policy leaves no replica on spot.",
        "More replicas, a higher percentage, or a lower minimum.",
        "Every replica runs on on-demand.",
    ),
    "SP302": ErrorHelp(
        "The pod template selects one capacity type.",
        "Remove the selector from the template.",
        "The workload reports Pinned.",
    ),
    "SP303": ErrorHelp(
        "A PodDisruptionBudget can never allow an eviction.",
        "Let it allow one disruption, for example `maxUnavailable: 1`.",
        "Nothing moves, and the workload reports BlockedByPDB. Node drains stop too.",
    ),
    "SP900": ErrorHelp(
        "The command failed because of a bug in Spotalis.",
        "Report the bug with the file that the message names. It holds the traceback and the "
        "versions, no arguments and no credentials; read it first. `-v 1` or "
        "`SPOTALIS_TRACEBACK=1` prints the traceback instead.",
    ),
}
"""By code. SP001 to SP045 are errors of commands and of the operator at its start, SP100 to SP303
findings of `spotalis validate`."""
