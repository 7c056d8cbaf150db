"""The controllers of the embedded cluster: each one syncs the keys in its work queue.

They behave like those of Kubernetes v1.36 in everything that Spotalis or a user of the API can
observe. Each module names its upstream counterpart and what it leaves out.
"""
