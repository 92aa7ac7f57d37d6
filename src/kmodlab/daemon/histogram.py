"""Histograms of latencies in few bytes: pairs of a bucket and its count, a count in seven bits a byte, lowest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .tick import BUCKETS


def encode(counts: Sequence[int]) -> bytes:
    """Return a histogram as bytes; an empty one is none."""
    out = bytearray()
    for bucket, count in enumerate(counts):
        if count:
            out.append(bucket)
            rest = count
            while rest > 0x7F:
                out.append(rest & 0x7F | 0x80)
                rest >>= 7
            out.append(rest)
    return bytes(out)


def add(into: list[int], encoded: bytes) -> None:
    """Add the counts of an encoded histogram to a list of `BUCKETS`."""
    at, end = 0, len(encoded)
    while at < end:
        bucket, shift, count = encoded[at], 0, 0
        at += 1
        while encoded[at] > 0x7F:
            count |= (encoded[at] & 0x7F) << shift
            shift += 7
            at += 1
        into[bucket] += count | encoded[at] << shift
        at += 1


def summed(all_of: Iterable[bytes]) -> list[int]:
    """Return the sum of encoded histograms."""
    total = [0] * BUCKETS
    for each in all_of:
        add(total, each)
    return total


def both(one: bytes, other: bytes) -> bytes:
    """Return the sum of two encoded histograms, encoded."""
    return encode(summed((one, other))) if one and other else one or other


class Sum:
    """An aggregate function of SQLite: the sum of encoded histograms."""

    def __init__(self) -> None:
        self._total = [0] * BUCKETS

    def step(self, encoded: bytes) -> None:
        """Take one in."""
        add(self._total, encoded)

    def finalize(self) -> bytes:
        """Return the sum."""
        return encode(self._total)
