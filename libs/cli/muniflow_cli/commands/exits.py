"""What the exit codes of every command mean; `docs/reference/cli.md` has the same table."""

OK = 0
"""It is done, and all of it."""
FAILED = 1
"""It ran and something failed: a batch that is not entirely done, a check that found an error."""
USAGE = 2
"""The command line, a setting or the batch is wrong; nothing was started."""
INCOMPLETE = 3
"""Shares of a batch are missing: run each of them, and merge again."""
UNAVAILABLE = 69
"""A part that is needed is away: the broker, the coordinator, a store. Trying again later may help."""
BUG = 70
"""A bug of muniflow; it prints a traceback to report."""
INTERRUPTED = 130
"""Ctrl-C."""
