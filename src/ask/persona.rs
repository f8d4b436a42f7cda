//! Whether a system prompt says anything.

/// Longer than this is never neutral.
pub(super) const LONGEST: usize = 240;

/// What may follow "you are" without making anyone of the assistant.
const PLAIN: [&str; 52] = [
    "a",
    "an",
    "the",
    "my",
    "our",
    "and",
    "very",
    "helpful",
    "friendly",
    "kind",
    "polite",
    "honest",
    "harmless",
    "respectful",
    "useful",
    "smart",
    "intelligent",
    "knowledgeable",
    "general",
    "purpose",
    "general-purpose",
    "ai",
    "virtual",
    "digital",
    "large",
    "language",
    "chat",
    "personal", //
    "мой",
    "наш",
    "и",
    "очень",
    "полезный",
    "дружелюбный",
    "вежливый",
    "умный",
    "честный",
    "добрый",
    "отзывчивый",
    "виртуальный",
    "цифровой",
    "личный",
    "персональный",
    "ии",
    "искусственный",
    "большая",
    "языковая",
    "это",
    "просто",
    "интеллектуальный",
    "универсальный",
    "голосовой",
];

const ASSISTANT: [&str; 12] = [
    "assistant",
    "chatbot",
    "bot",
    "model",
    "ai-assistant",
    "ассистент",
    "помощник",
    "чат-бот",
    "чатбот",
    "модель",
    "ии-ассистент",
    "ии-помощник",
];

/// Empty, or nothing but "you are a helpful assistant" in some words of English or Russian.
/// Everything else is taken for a persona: whatever it asks for, an answer written beforehand does not know it.
pub(super) fn is_neutral(prompt: &str) -> bool {
    prompt.len() <= LONGEST
        && prompt.to_lowercase().split(['.', '!', '\n']).map(str::trim).all(|s| s.is_empty() || is_plain(s))
}

fn is_plain(sentence: &str) -> bool {
    let rest = ["you are ", "you're ", "you’re ", "ты ", "вы "]
        .iter()
        .find_map(|start| sentence.strip_prefix(start));
    let Some(rest) = rest else { return false };
    let mut words =
        rest.split([' ', ',', '\t', '\r']).filter(|w| !matches!(*w, "" | "-" | "–" | "—")).peekable();
    let mut assistant = false;
    words.peek().is_some()
        && words.all(|word| {
            let named = ASSISTANT.contains(&word);
            assistant |= named;
            named || PLAIN.contains(&word)
        })
        && assistant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_prompts_are_neutral() {
        for prompt in [
            "",
            " \n",
            "You are a helpful assistant.",
            "You are a helpful AI assistant",
            "you're a helpful, respectful and honest assistant!",
            "You are a large language model.\nYou are a helpful assistant.",
            "Ты — полезный ассистент.",
            "Ты полезный ИИ-помощник",
            "Вы - дружелюбный и вежливый помощник.",
        ] {
            assert!(is_neutral(prompt), "{prompt}");
        }
    }

    #[test]
    fn everything_else_is_a_persona() {
        for prompt in [
            "Be brief.",
            "You are",
            "You are a helpful",
            "You are a pirate.",
            "You are a helpful pirate assistant.",
            "You are a helpful assistant. Answer in French.",
            "You are a helpful assistant that answers in JSON",
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
            "You are my assistant: be rude",
            "Ты злой помощник",
            "Ты — ассистент магазина",
            "assistant",
        ] {
            assert!(!is_neutral(prompt), "{prompt}");
        }
        assert!(!is_neutral(&"You are a helpful assistant. ".repeat(20)));
    }
}
