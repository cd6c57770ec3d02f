"""All dashboards."""

from deploy.grafana.generator import batches, broker, capacity, failures, pipeline, workers

PAGES = (pipeline.PAGE, batches.PAGE, failures.PAGE, workers.PAGE, broker.PAGE, capacity.PAGE)
