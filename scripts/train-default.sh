#!/bin/sh
# Makes models/intent.safetensors again, byte for byte on the machine that made it.
# usage: scripts/train-default.sh DATA_DIR [OUT]
# DATA_DIR holds the public sets as docs/classifier.md lists them; our own phrases are in models/phrases/.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 DATA_DIR [OUT]" >&2; exit 2; }
data=$1
out=${2:-models/intent.safetensors}
cd "$(dirname "$0")/.."
[ -x target/release/brainstem ] || cargo build --release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# CLINC150, HWU64 and BANKING77 come with intents; these are their labels. What is left out is neither
# clearly social nor clearly work.
awk -F'\t' -v OFS='\t' '
    function label(set, intent) {
        if (set == "clinc150") {
            if (intent ~ /^(are_you_a_bot|do_you_have_pets|goodbye|greeting|how_old_are_you|thank_you|what_are_your_hobbies|what_can_i_ask_you|what_is_your_name|where_are_you_from|who_do_you_work_for|who_made_you)$/) return "greeting"
            if (intent ~ /^(yes|no|maybe|calculator|change_ai_name|user_name|repeat|cancel|transactions|spending_history|income|pto_used)$/) return ""
        }
        if (set == "hwu64") {
            if (intent == "general_praise") return "greeting"
            if (intent == "qa_maths") return "reasoning"
            if (intent ~ /^(general_quirky|general_affirm|general_negate|general_confirm|general_dontcare|general_explain|general_repeat|general_commandstop)$/) return ""
        }
        return "general"
    }
    {
        set = FILENAME; sub(/.*\//, "", set); sub(/_train\.tsv$/, "", set)
        name = label(set, $1)
        if (name != "" && length($2) > 0) print name, $2, set "-intents/" $1
    }' "$data/clinc150_train.tsv" "$data/hwu64_train.tsv" "$data/banking77_train.tsv" > "$work/intents.tsv"

target/release/brainstem train \
    models/phrases/ru-greeting.tsv models/phrases/ru-general.tsv models/phrases/ru-coding.tsv \
    models/phrases/ru-data_question.tsv models/phrases/ru-reasoning.tsv \
    models/phrases/en-greeting.tsv models/phrases/en-general.tsv models/phrases/en-coding.tsv \
    models/phrases/en-data_question.tsv models/phrases/en-reasoning.tsv \
    "$data/train_ru.tsv" "$data/train_en.tsv" "$data/short_train_ru.tsv" "$data/short_train_en.tsv" \
    "$work/intents.tsv" --seed 7 --holdout 0.1 -o "$out"
