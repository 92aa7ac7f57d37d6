"""Fuzzers of the tracer, and the test that runs them."""
