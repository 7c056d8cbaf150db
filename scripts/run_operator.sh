#!/bin/sh
# Run the operator against the cluster of the kubeconfig, after a confirmation.
# Usage: run_operator.sh SPOTALIS [--yes]
spotalis=$1
context=$(kubectl config current-context 2>/dev/null || echo "the current context of your kubeconfig")
namespace=${SPOTALIS_NAMESPACE:-spotalis-system}
echo "This runs the operator on context: $context"
echo "  namespace: $namespace (its Lease, ledgers and webhook certificate are written there)"
echo "  effects: it competes for the Lease, evicts pods of opted-in workloads, and writes Events and conditions"
echo "  to only look, without any write: $spotalis plan -A"
if [ "$2" != "--yes" ]; then
    if [ ! -t 0 ]; then
        echo "no terminal to ask on; to run it anyway: make run ARGS=--yes" >&2
        exit 2
    fi
    printf "Type yes to continue: "
    read -r answer
    [ "$answer" = yes ] || { echo "nothing was started"; exit 1; }
fi
exec "$spotalis" controller --log-format text
