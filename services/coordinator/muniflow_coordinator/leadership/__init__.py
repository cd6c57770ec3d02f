"""Which of several coordinators works: one claim, three ways to make it, and the thread that keeps it."""
