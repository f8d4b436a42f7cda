"""The answer head: which answer a greeting asks for. Two parts, summed: a small network over what the frozen students
see, and a hashed bag of its own. export.py fits it after the students' tables are quantised, so that it sees those."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from data import NAMES, Rough, bag, seeded, steps, typo
from student import bags, look

BUCKETS, HIDDEN, EPOCHS, VARIANTS = 60_000, 192, 25, 2


class Answers(nn.Module):
    def __init__(self, width=544):
        super().__init__()
        self.hid, self.out = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, NAMES)
        self.table = nn.EmbeddingBag(BUCKETS, NAMES, mode="sum", sparse=True)
        nn.init.zeros_(self.table.weight)

    def parts(self, x, packed):
        ids, offsets, shares = packed
        seen = self.out(F.dropout(F.relu(self.hid(x)), .3, self.training))
        return seen, self.table(ids, offsets, per_sample_weights=shares)

    def forward(self, x, texts):
        return sum(self.parts(x, bags(texts, BUCKETS)))


def pack(some):
    ids, shares = (torch.from_numpy(np.concatenate([x[i] for x in some])) for i in (0, 1))
    return ids, torch.from_numpy(np.cumsum([0] + [len(i) for i, _ in some[:-1]])), shares


def fit(enc, bag_, base):
    rng, _ = seeded(7)
    rough = Rough(base)
    rows = [r for r in base if r["label"] == 0 and r["answer"] >= 0]
    work = [r for r in base if r["label"] and r["own"]]  # says `none`
    rows += rng.sample(work, min(300, len(work)))
    texts = [r["text"] for r in rows]
    for _ in range(VARIANTS - 1):
        texts += [rough(r["text"], r["label"], rng) if r["label"] else typo(r["text"].rstrip(".!?"), rng) for r in rows]
    y = torch.tensor([r["answer"] for r in rows] * VARIANTS)
    x = look(enc, bag_, texts)[2]
    mean, spread = x.mean(0), x.std(0) + 1e-3
    x, hashed, net = (x - mean) / spread, [bag(t, BUCKETS) for t in texts], Answers(x.shape[1])
    opt = [torch.optim.AdamW([p for n, p in net.named_parameters() if n != "table.weight"], lr=2e-3, weight_decay=.02),
           torch.optim.SparseAdam([net.table.weight], lr=4e-3)]
    top, total = [o.param_groups[0]["lr"] for o in opt], steps(EPOCHS * len(x) // 256)
    for s in range(total):
        for o, lr in zip(opt, top):
            o.param_groups[0]["lr"] = lr * .5 * (1 + np.cos(np.pi * s / total))
        k = torch.randint(0, len(x), (256,))
        a, b = net.parts(F.dropout(x[k], .1), pack([hashed[i] for i in k.tolist()]))
        loss = sum(w * F.cross_entropy(o, y[k], label_smoothing=.05) for w, o in ((1., a + b), (.3, a), (.3, b)))
        for o in opt:
            o.zero_grad()
        loss.backward()
        for o in opt:
            o.step()
    net.eval()
    with torch.no_grad():  # the standardising goes into the first layer
        net.hid.bias -= net.hid.weight @ (mean / spread)
        net.hid.weight /= spread
    return net
