"""The pipeline in a simulation: real coordinators and workers on one virtual clock, with every kind of fault."""
