"""Leader election: one lock, three kinds of it, and the elector that holds it."""
