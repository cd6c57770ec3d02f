"""Running a batch without a broker: in this process, on all cores, or as a container for each step."""
