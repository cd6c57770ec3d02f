"""For tests, benchmarks and simulation: the transport in memory, virtual time, background work without threads."""
