"""Rules and configuration of Prometheus, and Prometheus beside a local stack."""
