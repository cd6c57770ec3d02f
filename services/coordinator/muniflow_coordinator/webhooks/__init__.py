"""Webhooks: the end of a batch, told to a URL. Off unless the operator names hosts."""
