"""What the benchmark runs in the guest."""
