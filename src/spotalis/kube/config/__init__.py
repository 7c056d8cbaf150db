"""How to reach a cluster: kubeconfig files, in-cluster configuration, and credentials."""
