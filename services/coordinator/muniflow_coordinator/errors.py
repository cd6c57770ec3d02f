"""Errors of the coordinator alone."""

from muniflow.errors import MuniflowError


class Deposed(MuniflowError):
    """Another process has taken over the database: this one stops writing at once and stands by."""
