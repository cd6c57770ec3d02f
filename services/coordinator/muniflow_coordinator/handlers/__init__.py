"""Handlers of the coordinator's queues, and of each step in a batch's life."""
