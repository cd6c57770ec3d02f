"""For tests, benchmarks and simulation: the transport in memory."""
