"""What is compared, each behind the same face (`benchmarks.harness.Contender`)."""
