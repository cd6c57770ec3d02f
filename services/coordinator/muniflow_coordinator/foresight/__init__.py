"""What the batches ahead need: sizes, remaining work, and the replicas that each stage wants."""
