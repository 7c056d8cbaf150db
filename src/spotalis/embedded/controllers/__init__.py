"""The controllers of the embedded cluster: each a level-triggered ``sync`` behind a queue of keys.

They behave as those of Kubernetes v1.36 do wherever a controller of ours can observe it; each
module names its rule's source. What is left out stands in the module that leaves it out.
"""
