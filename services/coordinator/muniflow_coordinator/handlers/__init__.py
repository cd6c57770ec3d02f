"""What happens with each message and each image."""
