"""Builders of the Kubernetes objects that plans ask for: pure dictionaries."""
