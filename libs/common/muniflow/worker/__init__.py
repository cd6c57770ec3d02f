"""A step worker: takes tasks from its queues, lets compute children run them, publishes what follows."""
