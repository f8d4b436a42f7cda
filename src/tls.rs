//! The certificate that the proxy shows, and whom it trusts when it is the client.
//!
//! Pingora's listener takes its certificate from a resolver of ours, which looks into an `ArcSwap`: a new
//! certificate holds for the next handshake, and connections that are open stay as they are. Its connector
//! would load the system's authorities at the start and panic over one that it cannot read, needed or not;
//! so it is given none, and each `https` upstream brings its own ([`Trust`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::WrappedX509;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::problem::Problem;

/// The proxy's own certificate, swapped when its files change.
#[derive(Debug)]
pub struct Shown {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl Shown {
    /// Reads both files (PEM; the chain's own certificate first).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, Problem> {
        let current = ArcSwap::from_pointee(read(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// The files to watch.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.cert.clone(), self.key.clone()]
    }

    /// Reads the files again. `true` if they show another certificate now.
    ///
    /// # Errors
    /// What is wrong with them; the certificate from before goes on.
    pub fn reload(&self) -> Result<bool, Problem> {
        let new = read(&self.cert, &self.key)?;
        let changed = new.cert != self.current.load().cert;
        self.current.store(Arc::new(new));
        Ok(changed)
    }

    /// A listener's settings that show it: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// Pingora's; it has no reason to.
    pub fn settings(self: &Arc<Self>) -> pingora::Result<TlsSettings> {
        // The paths are not looked at: the resolver is asked.
        let mut settings = TlsSettings::intermediate("", "")?;
        settings.set_cert_resolver(self.clone());
        Ok(settings)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, Problem> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| pem_problem(key, "private key", &e))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|e| Problem::whole(key, format!("does not go with {}: {e}", cert.display())))
}

/// All certificates of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Result<Vec<_>, PemError> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(pem_problem(file, "certificate", &PemError::NoItemsFound)),
        Ok(all) => Ok(all),
        Err(error) => Err(pem_problem(file, "certificate", &error)),
    }
}

fn pem_problem(file: &Path, what: &str, error: &PemError) -> Problem {
    Problem::whole(
        file,
        match error {
            PemError::Io(error) => format!("cannot be read: {error}"),
            PemError::NoItemsFound => format!("has no {what} in PEM form (\"-----BEGIN …\")"),
            other => format!("holds no {what} that can be read: {other}"),
        },
    )
}

/// The authorities that an `https` upstream's certificate may come from.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<CaType>,
    der: Arc<Vec<ureq::tls::Certificate<'static>>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({} authorities)", self.der.len())
    }
}

impl Trust {
    /// Those of that file alone, or the system's.
    ///
    /// # Errors
    /// If there are none.
    pub fn load(ca: Option<&Path>) -> Result<Self, String> {
        let all = match ca {
            Some(file) => certificates(file).map_err(|problem| problem.to_string())?,
            None => pingora::tls::load_native_certs().map_err(|e| {
                format!("the system's certificate authorities cannot be read ({e}); name a file with `ca`")
            })?,
        };
        // A system's store may hold one that rustls does not take; the others are good.
        let usable = all.into_iter().filter(|cert| {
            let parses = X509Certificate::from_der(cert).is_ok();
            parses && RootCertStore::empty().add(cert.clone()).is_ok()
        });
        let usable: Vec<CertificateDer<'static>> = usable.collect();
        if usable.is_empty() {
            return Err(match ca {
                Some(file) => format!("{}: holds no certificate authority that can be used", file.display()),
                None => "the system has no certificate authorities; name a file with `ca`".to_owned(),
            });
        }
        let der = usable.iter().map(|cert| ureq::tls::Certificate::from_der(cert).to_owned()).collect();
        let wrapped = usable.into_iter().filter_map(|cert| {
            WrappedX509::try_new(cert.to_vec(), |raw| X509Certificate::from_der(raw).map(|(_, cert)| cert))
                .ok()
        });
        Ok(Self { roots: wrapped.collect(), der: Arc::new(der) })
    }

    /// For Pingora's connections.
    pub fn roots(&self) -> Arc<CaType> {
        self.roots.clone()
    }

    /// For ureq's.
    pub fn config(&self) -> ureq::tls::TlsConfig {
        client_config(ureq::tls::RootCerts::Specific(self.der.clone()))
    }
}

/// ureq by rustls, with rustls' own `ring`: without being told, it would panic for want of a provider.
fn client_config(roots: ureq::tls::RootCerts) -> ureq::tls::TlsConfig {
    let provider: CryptoProvider = ring::default_provider();
    ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn what_cannot_be_shown_is_refused_and_the_old_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = pair(dir.path(), "a");
        let shown = Shown::open(&cert, &key).unwrap();
        assert!(!shown.reload().unwrap(), "nothing has changed");
        let before = shown.current.load().cert.clone();
        let (other_cert, other_key) = pair(dir.path(), "b");
        std::fs::copy(&other_cert, &cert).unwrap();
        let problem = shown.reload().unwrap_err().to_string();
        assert!(problem.contains("a.key: does not go with"), "{problem}");
        assert_eq!(shown.current.load().cert, before);
        std::fs::copy(&other_key, &key).unwrap();
        assert!(shown.reload().unwrap());
        assert_ne!(shown.current.load().cert, before);
    }

    #[test]
    fn faults_name_the_file_and_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = pair(dir.path(), "a");
        let fault = |cert: &Path, key: &Path| Shown::open(cert, key).unwrap_err().to_string();
        assert!(fault(&key, &key).contains("a.key: has no certificate"));
        assert!(fault(&cert, &cert).contains("a.crt: has no private key"));
        assert!(fault(&dir.path().join("none"), &key).contains("none: cannot be read"));
        assert!(Trust::load(Some(&key)).unwrap_err().contains("has no certificate"));
        assert_eq!(format!("{:?}", Trust::load(Some(&cert)).unwrap()), "Trust(1 authorities)");
    }
}
