#!/bin/sh
# Run the operator against the cluster of the kubeconfig, after a confirmation.
# Usage: run_operator.sh SPOTALIS [--yes] [FLAGS of spotalis controller]
spotalis=$1
shift
confirmed=
if [ "$1" = "--yes" ]; then
    confirmed=yes
    shift
fi
kubeconfig=${KUBECONFIG:-$HOME/.kube/config}
context=$(sed -n "s/^current-context: *[\"']\{0,1\}\([^\"']*\).*/\1/p" "${kubeconfig%%:*}" 2>/dev/null)
namespace=${SPOTALIS_NAMESPACE:-spotalis-system}
echo "This runs the operator on context: ${context:-none in $kubeconfig}"
echo "  flags: ${*:-none}"
echo "  namespace: $namespace (its Lease, ledgers and webhook certificate are written there)"
echo "  effects: it competes for the Lease, evicts pods of opted-in workloads, and writes Events and conditions"
echo "  to only look, without any write: $spotalis plan -A"
if [ -z "$confirmed" ]; then
    if [ ! -t 0 ]; then
        echo "no terminal to ask on; to run it anyway: make run ARGS=--yes" >&2
        exit 2
    fi
    printf "Type yes to continue: "
    read -r answer
    [ "$answer" = yes ] || { echo "nothing was started"; exit 1; }
fi
exec "$spotalis" controller --log-format text "$@"
