"""The tracer's parser and printer, in user space under libFuzzer."""
