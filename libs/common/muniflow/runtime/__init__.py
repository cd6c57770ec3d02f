"""What a process needs: settings, logs, loop, signals, HTTP, metrics, tracing."""
