"""What the gateway asks of others: broker, coordinator, notices."""
