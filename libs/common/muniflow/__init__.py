"""muniflow: a Kubernetes-native pipeline for municipal imagery."""

__version__ = "0.1.0"
