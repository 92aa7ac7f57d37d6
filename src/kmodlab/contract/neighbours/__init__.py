"""The tracer beside everybody else who hooks a call: `make neighbours`."""
