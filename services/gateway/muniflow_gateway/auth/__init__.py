"""API keys, permissions and quotas."""
