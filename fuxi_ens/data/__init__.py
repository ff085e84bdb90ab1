"""From an analysis store to a batch. Only `loader` knows torch."""
