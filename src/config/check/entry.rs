//! Who gets in, and whom we trust: `[auth]`, `[proxy.tls]`, `proxy.origins`, and an upstream's `ca` and key.

use std::net::SocketAddr;
use std::path::Path;

use super::super::raw::{Key, RawAuth, RawTls};
use super::super::{Auth, Proxy, Secret, Tls};
use super::Checker;
use crate::tls::Trust;

impl Checker<'_> {
    /// Whom to trust: a file of ours, or the system; nobody where nothing is encrypted.
    pub(super) fn trust(&mut self, key: &str, ca: Key<String>, https: bool) -> Option<Trust> {
        let at = ca.as_ref().map_or(0, |ca| ca.span().start);
        let file = ca.map(toml::Spanned::into_inner).filter(|file| !file.is_empty());
        if !https {
            if file.is_some() {
                self.note(key, at, "means something for an https:// url only".to_owned());
            }
            return None;
        }
        Trust::load(file.as_deref().map(Path::new)).map_err(|message| self.note(key, at, message)).ok()
    }

    pub(super) fn own_key(
        &mut self,
        file_key: &str,
        file: Key<String>,
        variable_key: &str,
        variable: Key<String>,
    ) -> Option<Secret> {
        let given = |raw: &Key<String>| {
            let raw = raw.as_ref().filter(|raw| !raw.get_ref().is_empty())?;
            Some((raw.span().start, raw.get_ref().clone()))
        };
        let none = "no key in it: one line of printable characters is";
        if let Some((at, file)) = given(&file) {
            if given(&variable).is_some() {
                self.note(file_key, at, "there is a key_env, too; one of them is allowed".to_owned());
            }
            let read = std::fs::read_to_string(&file).map_err(|e| format!("{file} cannot be read: {e}"));
            let secret = read.and_then(|text| Secret::new(&text).ok_or_else(|| format!("{file}: {none}")));
            return secret.map_err(|message| self.note(file_key, at, message)).ok();
        }
        let (at, variable) = given(&variable)?;
        let secret = std::env::var(&variable).ok().and_then(|text| Secret::new(&text));
        if secret.is_none() {
            self.note(variable_key, at, format!("the variable {variable} is not set, or {none}"));
        }
        secret
    }

    pub(super) fn origins(&mut self, raw: Key<Vec<String>>) -> Vec<String> {
        let Some(list) = raw else { return Vec::new() };
        for origin in list.get_ref() {
            let wrong = origin.matches('*').count() > 1
                || origin.ends_with('/') && !origin.ends_with("://")
                || origin != "*" && !origin.contains("://");
            if wrong {
                let message = format!(
                    "\"{origin}\" is no origin; write it like \"https://ui.example.org\", \"http://10.0.0.5:*\", \
                     \"chrome-extension://*\" (one * at most), or \"*\" for every page"
                );
                self.note("proxy.origins", list.span().start, message);
            }
        }
        list.into_inner()
    }

    pub(super) fn tls(&mut self, raw: RawTls) -> Option<Tls> {
        let at = |raw: &Key<String>| raw.as_ref().map_or(0, |raw| raw.span().start);
        let (cert_at, key_at) = (at(&raw.cert), at(&raw.key));
        let (cert, key) = (self.take(raw.cert, String::new()), self.take(raw.key, String::new()));
        match (cert.is_empty(), key.is_empty()) {
            (true, true) => return None,
            (false, false) => return Some(Tls { cert: cert.into(), key: key.into() }),
            (false, true) => self.note("proxy.tls.cert", cert_at, "needs proxy.tls.key, too".to_owned()),
            (true, false) => self.note("proxy.tls.key", key_at, "needs proxy.tls.cert, too".to_owned()),
        }
        None
    }

    pub(super) fn auth(&mut self, raw: RawAuth) -> Option<Auth> {
        let forward = self.take(raw.forward, false);
        let keys = self.take(raw.keys, String::new());
        (!keys.is_empty()).then(|| Auth { keys: keys.into(), forward })
    }
}

/// What everybody on the network may do under this config, in words for the log.
pub(super) fn exposed(
    proxy: &Proxy,
    admin: Option<SocketAddr>,
    auth: Option<&Auth>,
    require_key: bool,
) -> Vec<String> {
    let mut said = Vec::new();
    let far = |at: SocketAddr| !at.ip().is_loopback();
    if far(proxy.listen) && auth.is_none() {
        said.push(format!(
            "proxy.listen {} is no loopback address and there are no keys: whoever reaches it may use, pull and delete \
             models; set auth.keys (`brainstem key new NAME`)",
            proxy.listen
        ));
    }
    if far(proxy.listen) && auth.is_some() && proxy.tls.is_none() {
        said.push(format!(
            "proxy.listen {} takes keys without TLS: whoever sees the network sees them; set [proxy.tls], or let \
             something in front of it encrypt",
            proxy.listen
        ));
    }
    if let Some(at) = admin.filter(|at| far(*at) && !require_key) {
        said.push(format!(
            "admin.listen {at} is no loopback address: whoever reaches it sees metrics, rules and explanations; set \
             admin.require_key"
        ));
    }
    said
}
