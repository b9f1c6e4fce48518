"""The loop: a queue of keys, workers, and the table of what reconciles which kind."""
