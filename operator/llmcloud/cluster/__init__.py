"""All Kubernetes calls: what is read, what is written, and who leads."""
