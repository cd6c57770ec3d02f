"""Grafana beside a stack of this machine, and its dashboards."""
