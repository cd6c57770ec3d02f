"""All dashboards."""

from deploy.grafana.generator import batches, broker, capacity, pipeline

PAGES = (pipeline.PAGE, batches.PAGE, broker.PAGE, capacity.PAGE)
