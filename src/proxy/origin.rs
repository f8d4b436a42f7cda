//! Who may ask from a browser: the rules of Ollama's own `allowedHostsMiddleware` and CORS defaults
//! (`server/routes.go`, `envconfig/config.go`). They must be kept here, since the upstream sees its own
//! address as `Host` and could no longer tell a rebound name, and since local answers never reach it.

use std::net::IpAddr;

/// Schemes of desktop applications that Ollama lets in.
const APP_SCHEMES: [&str; 5] = ["app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"];

/// Whether a `Host` may reach a listener on loopback. Against DNS rebinding: a web page can make its own
/// name point to 127.0.0.1, but cannot make the browser send another name.
pub(crate) fn host_allowed(host: &str, own_name: &str) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    if name.is_empty() || name == "localhost" || name == own_name.to_ascii_lowercase() {
        return true;
    }
    if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return is_near(ip);
    }
    [".local", ".localhost", ".internal"].iter().any(|tld| name.ends_with(tld))
}

/// What to do about an ask's `Origin`, if it would be answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cors {
    /// No `Origin`, or the page's own server: no headers needed.
    None,
    /// Allowed by Ollama's defaults: the origin is echoed.
    Echo,
    /// Perhaps allowed by the upstream's own `OLLAMA_ORIGINS`: it must decide.
    AskUpstream,
    /// Allowed by `proxy.origins`, of which the upstream knows nothing.
    Listed,
    /// In neither, and `proxy.origins` decides alone.
    Refused,
}

/// Judges an `Origin` as Ollama's defaults do.
pub(crate) fn cors(origin: Option<&str>, host: &str) -> Cors {
    let Some(origin) = origin.filter(|o| !o.is_empty()) else { return Cors::None };
    if APP_SCHEMES.iter().any(|scheme| origin.starts_with(scheme)) {
        return Cors::Echo;
    }
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return Cors::AskUpstream;
    };
    if authority == host {
        return Cors::None;
    }
    match without_port(authority) {
        "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" => Cors::Echo,
        _ => Cors::AskUpstream,
    }
}

fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_unspecified() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local(),
    }
}

/// The machine's own name, which Ollama lets in too.
pub(crate) fn own_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    read.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default().trim().to_owned()
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_ollama_lets_them_in() {
        for host in [
            "",
            "localhost",
            "localhost:11440",
            "127.0.0.1:11440",
            "[::1]:11440",
            "192.168.1.7:11440",
            "10.0.0.1",
            "mac.local:11440",
            "ollama.internal",
            "MyMac",
            "0.0.0.0:11440",
        ] {
            assert!(host_allowed(host, "mymac"), "{host}");
        }
        for host in ["evil.com", "evil.com:11440", "8.8.8.8", "localhost.evil.com", "local"] {
            assert!(!host_allowed(host, "mymac"), "{host}");
        }
    }

    #[test]
    fn origins_as_ollamas_defaults_judge_them() {
        let host = "127.0.0.1:11440";
        assert_eq!(cors(None, host), Cors::None);
        assert_eq!(cors(Some("http://127.0.0.1:11440"), host), Cors::None);
        for origin in
            ["http://localhost:3000", "https://localhost", "http://127.0.0.1:8080", "app://obsidian.md"]
        {
            assert_eq!(cors(Some(origin), host), Cors::Echo, "{origin}");
        }
        for origin in ["https://evil.com", "null", "http://localhost.evil.com", "ftp://localhost"] {
            assert_eq!(cors(Some(origin), host), Cors::AskUpstream, "{origin}");
        }
    }
}
