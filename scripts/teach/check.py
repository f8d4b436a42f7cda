"""Reads the exported model as brainstem does (MLX, nothing but the three files), holds it against torch, writes
golden.json for brainstem's own test, and measures on the files that nothing was trained on. usage: check.py OUT_DIR"""
import json
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from tokenizers import Tokenizer

import answers
import student
from data import ANSWERS, LABELS, SMOKE, WORK, bag, fold, measured, read_measured

TEXTS = [
    "", " ", "привет", "Привет, как дела?", "hello", "Hi there! How are you doing today?", "👋", "🙂🙂🙂",
    "ПРИВЕТ, ТЫ КТО?", "напиши функцию на rust, которая сортирует вектор строк по длине",
    "write a regex that matches IPv4 addresses", "сколько заказов было на прошлой неделе по регионам",
    "how many employees were hired after 2020", "почему небо голубое, объясни простыми словами", "what is 17 * 23 - 4?",
    "переведи на английский: добрый вечер, дамы и господа", "recommend a good book about the sea", "ghbdtn", "спс",
    "thanks a lot, that really helped", "Ёлки-палки, ещё раз всё упало…",
    "hello, can you fix my docker compose file, the port is taken",
    "привет! посоветуй, что приготовить на ужин из курицы и риса", "ollama работает?", "what model are you running on",
    "который час", "x" * 300, "слово " * 400, "你好吗",
    "compare postgres and mysql for a small shop,\nplease, in a table: price | speed"]


class Model:
    def __init__(self, folder):
        self.c = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        packed = (".scales", ".biases")  # the tables stay packed; small matrices are widened once
        self.w = {k: v.astype(mx.float32) if v.dtype == mx.float16 and not k.endswith(packed) else v
                  for k, v in mx.load(str(folder / "model.safetensors")).items()}

    def ids(self, text):
        x, most = self.tokenizer.encode(fold(text)).ids, self.c["max_tokens"]
        return x if len(x) <= most else x[:most // 4 * 3] + x[-(most // 4):]

    def rows(self, name, i):
        q, w = self.c["quant"][name], {k: mx.take(self.w[f"{name}.{k}"], i, 0) for k in ("weight", "scales", "biases")}
        return mx.dequantize(w["weight"], w["scales"].astype(mx.float32), w["biases"].astype(mx.float32),
                             group_size=q["group"], bits=q["bits"])

    def layer(self, name, x):
        return x @ self.w[name + ".weight"] + self.w[name + ".bias"]

    def encoder(self, ids):
        """-> logits, mean, mean and maximum."""
        w, c, n = self.w, self.c, len(ids)
        x = self.rows("enc.word", mx.array(ids)) + w["enc.pos"][:n]
        for i in range(c["layers"]):
            p = f"enc.blocks.{i}."
            h = mx.fast.rms_norm(x, w[p + "n1.weight"], c["rms_eps"])
            size = c["width"] // c["heads"]
            q, k, v = (h @ w[p + "qkv.weight"]).reshape(n, 3, c["heads"], size).transpose(1, 2, 0, 3)
            a = mx.fast.scaled_dot_product_attention(q[None], k[None], v[None], scale=size ** -.5)
            x = x + a[0].transpose(1, 0, 2).reshape(n, c["width"]) @ w[p + "o.weight"]
            h = mx.fast.rms_norm(x, w[p + "n2.weight"], c["rms_eps"])
            x = x + mx.maximum(self.layer(p + "f1", h), 0) @ w[p + "f2.weight"]
        x = mx.fast.rms_norm(x, w["enc.norm.weight"], c["rms_eps"])
        mean = mx.mean(x, 0)
        both = mx.concatenate([mean, mx.max(x, 0)])
        return self.layer("enc.out", mx.maximum(self.layer("enc.hid", both), 0)), mean, both

    def bag(self, text):
        """-> logits, sum of the rows."""
        i, s = bag(text, self.c["buckets"])
        x = mx.array(s) @ self.rows("bag.table", mx.array(i.astype(np.int32)))
        return self.layer("bag.out", mx.maximum(self.layer("bag.hid", x), 0)), x

    def __call__(self, text):
        """-> logits of encoder and bag, of the labels together, of the answers; the mean."""
        e, mean, both = self.encoder(self.ids(text))
        b, x = self.bag(text)
        i, s = bag(text, self.c["answer_buckets"])
        a = self.layer("ans.out", mx.maximum(self.layer("ans.hid", mx.concatenate([both, x])), 0))
        a = a + mx.array(s) @ self.rows("ans.table", mx.array(i.astype(np.int32)))
        norm, share = lambda v: v[:5] - mx.logsumexp(v[:5]), self.c["bag_share"]
        label = ((1 - share) * norm(e) + share * norm(b)) / self.c["temperature"]
        return [np.array(v) for v in (e, b, label, a, mean)]


def softmax(x):
    return np.exp(x - np.logaddexp.reduce(x))


def golden(model, path):
    saved = torch.load(WORK / "shipped.pt")
    enc, bag_, net = student.Encoder(model.c["vocab"]), student.Bag(), answers.Answers()
    for module, key in ((enc, "enc"), (bag_, "bag"), (net, "ans")):
        module.load_state_dict(saved[key])
        module.eval()
    out, worst = [], 0.
    numbers = lambda x, n=None: [round(float(v), 5) for v in np.ravel(x)[:n]]
    for t in TEXTS:
        e, b, label, a, mean = model(t)
        with torch.no_grad():
            te, tm, _ = enc(student.tokens([t]))
            tb, _ = bag_(student.bags([t]))
            ta = net(student.look(enc, bag_, [t])[2], [t])
            enc.eval(), bag_.eval()
        for ours, theirs in ((e, te), (b, tb), (a, ta), (mean, tm)):
            worst = max(worst, float(np.abs(ours - theirs[0].numpy()).max()))
        i, s = bag(t)
        out.append(dict(
            text=t, folded=fold(t), ids=model.ids(t), bag_ids_first=i[:8].tolist(), bag_shares_first=numbers(s, 8),
            bag_len=len(i), pooled=numbers(mean, 8), pooled_norm=round(float(np.linalg.norm(mean)), 5),
            enc_logits=numbers(e, 5), bag_logits=numbers(b, 5), logits=numbers(label), answer=ANSWERS[min(int(a.argmax()), 30)],
            answer_logits_first=numbers(a, 8), label=LABELS[int(label.argmax())]))
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1), encoding="utf-8")
    print("largest difference between MLX and torch:", worst)
    assert worst < .02


def measure(model, path):
    rows = list(read_measured(path))[:20 if SMOKE else None]
    if not rows:
        return
    p, y = np.array([softmax(model(t)[2]) for t, _, _ in rows]), np.array([y for _, y, _ in rows])
    at, sure, social = model.c["greeting_from"], model.c["sure_from"], y == 0
    d = p.argmax(1)
    d[((d == 0) & (p[:, 0] < at)) | ((d != 0) & (p.max(1) < sure))] = LABELS.index("general")
    share = lambda of: f"{(p[of, 0] >= at).mean():.2%}" if of.any() else "-"
    print(f"| {path.name} | {len(y)} | {(d == y).mean():.3f} | {(p.argmax(1) == y).mean():.3f} | {share(~social)} | {share(social)} |")


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    folder = Path(sys.argv[1])
    shipped = Model(folder)
    golden(shipped, folder / "golden.json")
    print("| set | lines | accuracy | by the largest alone | false greetings | greetings caught |\n|---|---|---|---|---|---|")
    for file in measured():
        measure(shipped, file)
