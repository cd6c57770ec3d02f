"""Clients of the broker and the coordinator."""
