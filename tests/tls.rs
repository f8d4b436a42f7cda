//! TLS on both sides: the proxy's own port, and upstreams behind `https`. Over real sockets, with certificates made
//! for the occasion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};
use serde_json::json;

use support::asks::chat;
use support::http::find;
use support::running::brainstem;
use support::upstream::SAID;
use support::{DEADLINE, Options, Request, Running, Upstream, eventually};

/// A certificate authority, and a certificate of its making for `localhost` and 127.0.0.1.
struct Papers {
    ca: String,
    chain: String,
    key: String,
}

impl Papers {
    fn new() -> Self {
        Self::of(&["localhost", "127.0.0.1"])
    }

    fn of(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self { ca: ca.pem(), chain: leaf.pem(), key: key.serialize_pem() }
    }

    fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }
}

fn with_tls(options: Options, papers: &Papers) -> Options {
    options
        .file("proxy.crt", papers.chain.clone())
        .file("proxy.key", papers.key.clone())
        .set("proxy.tls.cert", "proxy.crt")
        .set("proxy.tls.key", "proxy.key")
}

/// A client of the proxy.
struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn try_open(
        at: SocketAddr,
        ca: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // As curl and browsers offer it.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut client = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        client.conn.complete_io(&mut client.sock)?;
        Ok(Self(client))
    }

    fn open(running: &Running, papers: &Papers) -> Self {
        Self::try_open(running.proxy, &papers.ca, &[&version::TLS13, &version::TLS12]).unwrap()
    }

    /// Status line with headers, and body, of a reply that has a length.
    fn exchange(&mut self, request: &Request) -> (String, Vec<u8>) {
        self.0.write_all(&request.bytes(self.0.sock.peer_addr().unwrap())).unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut piece = [0; 16 * 1024];
            let n = self.0.read(&mut piece).unwrap();
            assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&piece[..n]);
            let Some(end) = find(&bytes, b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if bytes.len() >= end + 4 + length.unwrap() {
                return (head, bytes[end + 4..].to_vec());
            }
        }
    }

    fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// Speaks TLS in front of a scripted upstream.
struct Front {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    fn start(papers: &Papers, upstream: &Upstream) -> Self {
        let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![papers.leaf()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (behind, handshakes) = (upstream.address, Arc::new(AtomicUsize::new(0)));
        let counted = handshakes.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), counted.clone());
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let mut inside = tokio::net::TcpStream::connect(behind).await.unwrap();
                    let _ended = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { address, handshakes, _runtime: runtime }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }
}

#[test]
fn the_proxy_speaks_tls_of_both_versions() {
    let upstream = Upstream::start();
    let papers = Papers::new();
    let running = with_tls(Options::before(&upstream), &papers).start();
    running.log_line("listening on https://");
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let mut client = Client::try_open(running.proxy, &papers.ca, &versions).unwrap();
        assert_eq!(client.0.conn.alpn_protocol(), None, "HTTP/1.1 without a word about it");
        for _ in 0..2 {
            let (head, body) = client.exchange(&chat("llama3.2", "hello"));
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert!(head.to_lowercase().contains("x-brainstem-route: local"), "{head}");
            assert!(String::from_utf8(body).unwrap().contains("Hello!"));
            let (_, body) = client.exchange(&chat("llama3.2", "sum up the tides"));
            assert!(String::from_utf8(body).unwrap().contains(SAID));
        }
        // Larger than a record, larger than a buffer.
        let pad = "x".repeat(1_000_000);
        let long =
            json!({"model": "llama3.2", "stream": false, "messages": [{"role": "user", "content": pad}]});
        let (head, _) = client.exchange(&Request::json("/api/chat", &long));
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(upstream.last().body, long.to_string().as_bytes());
    }
}

#[test]
fn who_speaks_plainly_or_nonsense_is_closed_and_nobody_else_is_hurt() {
    let papers = Papers::new();
    let running = with_tls(Options::before_nobody(), &papers).start();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0; 100]] {
        let mut plain = TcpStream::connect(running.proxy).unwrap();
        plain.set_read_timeout(Some(DEADLINE)).unwrap();
        plain.write_all(bytes).unwrap();
        plain.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        let _reset = plain.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    assert!(
        Client::open(&running, &papers).exchange(&chat("llama3.2", "hello")).0.starts_with("HTTP/1.1 200")
    );
    // A client that trusts another authority is not let down, but told.
    let other = Papers::new();
    assert!(Client::try_open(running.proxy, &other.ca, &[&version::TLS13]).is_err());
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let (old, new) = (Papers::new(), Papers::new());
    let running = with_tls(Options::before_nobody(), &old).start();
    let mut open = Client::open(&running, &old);
    assert_eq!(open.shown(), old.leaf());
    let write = |name: &str, text: &str| {
        // As tools that renew do: a new file, renamed over the old one.
        let dir = running.dir.path();
        std::fs::write(dir.join("new"), text).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    };
    // Half of it is told and changes nothing.
    write("proxy.crt", &new.chain);
    running.log_line("certificate not reloaded: proxy.key: does not go with proxy.crt");
    assert_eq!(Client::open(&running, &old).shown(), old.leaf());
    write("proxy.key", &new.key);
    running.log_line("another certificate is shown");
    assert_eq!(Client::open(&running, &new).shown(), new.leaf());
    assert!(open.exchange(&chat("llama3.2", "hello")).0.starts_with("HTTP/1.1 200"), "who is in stays in");
    write("proxy.crt", "nonsense");
    running.log_line("certificate not reloaded: proxy.crt: has no certificate");
    assert_eq!(Client::open(&running, &new).shown(), new.leaf());
    assert_eq!(running.metric("certificate_reloads_total{result=\"ok\"}"), 1.0);
    assert_eq!(running.metric("certificate_reloads_total{result=\"refused\"}"), 2.0);
}

#[test]
fn handshakes_that_do_not_end_take_places_too() {
    let papers = Papers::new();
    let running = with_tls(Options::before_nobody(), &papers).set("limits.connections", 3).start();
    eventually(DEADLINE, "a place for each", || {
        // What the start left behind may still be there.
        running.metric("connections") <= 1.0
    });
    let held: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(running.proxy).unwrap()).collect();
    eventually(DEADLINE, "there is no room", || {
        running.metric("refused_connections_total{reason=\"total\"}") >= 1.0
    });
    assert_eq!(running.metric("connections"), 3.0);
    drop(held);
}

#[test]
fn an_upstream_behind_tls_is_reached_by_name_and_by_address() {
    let upstream = Upstream::start();
    let papers = Papers::new();
    for host in ["localhost", "127.0.0.1"] {
        upstream.forget();
        let front = Front::start(&papers, &upstream);
        let running = Options::before(&upstream)
            .anywhere()
            .file("ca.pem", papers.ca.clone())
            .set("upstream.default.url", front.url(host))
            .set("upstream.default.ca", "ca.pem")
            .start();
        running.sees("default", true, Some(1));
        let before = front.handshakes.load(Ordering::SeqCst);
        for _ in 0..5 {
            let reply = running.chat("sum up the tides");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        assert_eq!(upstream.count(), 5);
        assert_eq!(upstream.last().header("host"), Some(format!("{host}:{}", front.address.port()).as_str()));
        let used = front.handshakes.load(Ordering::SeqCst) - before;
        assert!(used < 5, "connections are kept: {used} handshakes");
        assert_eq!(running.ready()["upstreams"][0]["url"], front.url(host));
    }
}

#[test]
fn the_systems_authorities_are_trusted_where_none_are_named() {
    let upstream = Upstream::start();
    let papers = Papers::new();
    let front = Front::start(&papers, &upstream);
    let file = tempfile::NamedTempFile::new().unwrap();
    // One that no one can read does not cost the others.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(file.path(), format!("{broken}{}", papers.ca)).unwrap();
    let running = Options::before(&upstream)
        .anywhere()
        .environment("SSL_CERT_FILE", &file.path().display().to_string())
        .set("upstream.default.url", front.url("localhost"))
        .start();
    running.sees("default", true, Some(1));
    assert_eq!(running.chat("sum up the tides").status, 200);
}

#[test]
fn an_upstream_that_cannot_prove_its_name_is_none() {
    let upstream = Upstream::start();
    let (papers, other) = (Papers::new(), Papers::new());
    let elsewhere = Papers::of(&["ollama.example.org"]);
    for (shown, trusted) in [(&papers, &other), (&elsewhere, &elsewhere)] {
        let front = Front::start(shown, &upstream);
        let running = Options::before(&upstream)
            .anywhere()
            .file("ca.pem", trusted.ca.clone())
            .set("upstream.default.url", front.url("localhost"))
            .set("upstream.default.ca", "ca.pem")
            .start();
        let reply = running.chat("sum up the tides");
        assert_eq!(reply.status, 502, "{reply:?}");
        assert!(reply.value()["error"].as_str().unwrap().contains("certificate"), "{reply:?}");
        running.sees("default", false, None);
        assert_eq!(upstream.count(), 0);
        assert_eq!(running.metric("upstream_errors_total{kind=\"certificate\",upstream=\"default\"}"), 1.0);
    }
}

#[test]
fn one_address_behind_two_authorities_is_two_servers() {
    let upstream = Upstream::start();
    let (papers, other) = (Papers::new(), Papers::new());
    let front = Front::start(&papers, &upstream);
    let running = Options::before(&upstream)
        .anywhere()
        .file("ca.pem", papers.ca.clone())
        .file("other.pem", other.ca.clone())
        .set("upstream.default.url", front.url("localhost"))
        .set("upstream.default.ca", "ca.pem")
        .set("upstream.strict.url", front.url("localhost"))
        .set("upstream.strict.ca", "other.pem")
        .set("categories.coding.upstream", "strict")
        .start();
    running.sees("default", true, Some(1));
    for _ in 0..3 {
        assert_eq!(running.chat("sum up the tides").status, 200);
        assert_eq!(running.chat("refactor this").status, 502, "a connection of the other's is not taken");
    }
}

#[test]
fn several_servers_share_trust_and_key() {
    let servers = [Upstream::start(), Upstream::start()];
    servers[0].models(Some(&["a:latest"]));
    servers[1].models(Some(&["b:latest"]));
    let papers = Papers::new();
    let fronts = servers.each_ref().map(|server| Front::start(&papers, server));
    let urls: Vec<toml::Value> = fronts.iter().map(|front| front.url("localhost").into()).collect();
    let running = Options::bare()
        .file("ca.pem", papers.ca.clone())
        .file("their.key", "theirs")
        .set("upstream.default.urls", urls)
        .set("upstream.default.ca", "ca.pem")
        .set("upstream.default.key_file", "their.key")
        .set("upstream.default.manage", "all")
        .start();
    running.sees("default", true, Some(2));
    let list = running.send(&Request::get("/api/tags")).value();
    assert_eq!(list["models"].as_array().unwrap().len(), 3, "a, b and auto: {list}");
    for (at, model) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(running.send(&chat(model, "sum up the tides")).status, 200);
        assert_eq!(servers[at].last().header("authorization"), Some("Bearer theirs"));
    }
    let pulled = running.send(&Request::json("/api/pull", &json!({"model": "c", "stream": false})));
    assert_eq!(pulled.status, 200, "{pulled:?}");
    for server in &servers {
        let got = server.last();
        assert_eq!((got.path.as_str(), got.header("authorization")), ("/api/pull", Some("Bearer theirs")));
    }
}

#[test]
fn what_is_wrong_with_papers_is_told_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    let papers = Papers::new();
    std::fs::write(dir.path().join("a.crt"), &papers.chain).unwrap();
    let check = |config: &str| {
        std::fs::write(dir.path().join("c.toml"), config).unwrap();
        let output =
            brainstem().args(["check", "--config", "c.toml"]).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{config}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (config, said) in [
        (
            "[upstream.default]\nurls = [\"http://a\", \"https://b\"]\n",
            "c.toml:2:8: upstream.default.urls: http:// and https:// in one upstream",
        ),
        ("[proxy.tls]\ncert = \"a.crt\"\n", "c.toml:2:8: proxy.tls.cert: needs proxy.tls.key, too"),
        ("[proxy.tls]\ncert = \"a.crt\"\nkey = \"none\"\n", "none: cannot be read"),
        ("[proxy.tls]\ncert = \"a.crt\"\nkey = \"a.crt\"\n", "a.crt: has no private key"),
        (
            "[upstream.default]\nca = \"a.crt\"\n",
            "c.toml:2:6: upstream.default.ca: means something for an https",
        ),
        (
            "[upstream.default]\nurl = \"https://x\"\nca = \"none\"\n",
            "c.toml:3:6: upstream.default.ca: none: cannot be read",
        ),
        (
            "[upstream.default]\nkey_file = \"none\"\n",
            "c.toml:2:12: upstream.default.key_file: none cannot be read",
        ),
        (
            "[upstream.default]\nkey_env = \"NO_SUCH\"\n",
            "c.toml:2:11: upstream.default.key_env: the variable NO_SUCH",
        ),
        (
            "[upstream.default]\nurl = \"http://a:b@c\"\n",
            "c.toml:2:7: upstream.default.url: has a name or password",
        ),
    ] {
        let told = check(config);
        assert!(told.contains(said), "{told} lacks {said}");
    }
}
