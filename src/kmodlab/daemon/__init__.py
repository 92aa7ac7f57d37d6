"""kmodlabd: what the tracer of a machine says, kept and shown live.

`tick.py` is what its halves say to one another: the collector (`collector.py`) records, counts and keeps, and is the
only writer; the server asks it as a `Source`.
"""
