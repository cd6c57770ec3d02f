"""What a task does (`process`), and the child processes that do it behind limits (`pool`)."""
