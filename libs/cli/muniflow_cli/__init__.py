"""What people run on their own machine: the command line `muniflow`, the local engine, the stack of one machine."""
