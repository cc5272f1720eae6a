"""Waiting for a condition, and names that no other test uses."""

import itertools
import os
import time

_numbers = itertools.count(1)


def eventually(condition, timeout=5, what="the condition"):
    """The first true value of `condition()`; an error when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}, last saw {value!r}"
        time.sleep(0.02)


def unique(prefix):
    return f"{prefix}-{os.getpid():x}-{next(_numbers):04}"
