"""The autoscaler's arithmetic: pure, usable without a cluster."""
