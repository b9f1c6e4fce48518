"""Object stores and the pods that work on them: one protocol, one adapter per provider.

Runs in tenants' pods, under their identity; never in the operator's process.
"""
