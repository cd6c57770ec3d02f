"""The gateway: HTTP in, batches out, and a page that shows them. Needs no OpenCV and no numpy."""
