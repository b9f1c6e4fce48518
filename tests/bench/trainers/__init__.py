"""What runs in the runtime image for `make bench-training`."""
