"""The idx format of MNIST and its relatives: a big-endian header, then bytes."""

from __future__ import annotations

import numpy as np

UNSIGNED_BYTE = 0x08


def encode(array: np.ndarray) -> bytes:
    """The idx file of a uint8 array."""
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim])
    return header + np.array(array.shape, dtype=">i4").tobytes() + array.astype(np.uint8).tobytes()


def decode(content: bytes) -> np.ndarray:
    """The uint8 array in an idx file.

    Raises ValueError when the header is not that of an idx file of bytes or the length does not fit it.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(f"not an idx file of bytes: it begins with {content[:4].hex() or 'nothing'}")
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">i4"))
    if len(content) - start != int(np.prod(shape)):
        raise ValueError(
            f"idx header says {shape} but {len(content) - start} bytes follow; the file is cut short or padded"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
