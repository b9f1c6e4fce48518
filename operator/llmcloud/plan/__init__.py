"""Decisions: from a frozen World to a Plan. No I/O, no clock, no randomness, no logging."""
