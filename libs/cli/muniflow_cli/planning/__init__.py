"""What `muniflow plan` and `muniflow calibrate` work out: stages, sizes, service times and charts."""
