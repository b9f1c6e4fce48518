"""Scaling policies of others, each from its source, and the trivial ones."""
