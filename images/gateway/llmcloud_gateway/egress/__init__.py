"""The egress pod: it holds one key and presents it to one provider, for the gateways.

Gateways send it what they would send an engine; it puts the provider's path, model and key in
place, and passes the answer on. It runs in the tenant's namespace, so that no gateway holds a key.
"""
