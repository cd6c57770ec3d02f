"""The command line, `muniflow`. Each command is one module; heavy libraries are imported when a command needs them."""
