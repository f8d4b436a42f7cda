//! The Hugging Face hub, as far as a model has to be fetched from it: which files a repository has, and their bytes,
//! from where a broken download ended, checked against the hub's own checksums.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::tls::Trust;

/// Where the hub is, unless `HF_ENDPOINT` says otherwise.
pub const ENDPOINT: &str = "https://huggingface.co";
/// A connection that breaks off is taken up again this often.
const ATTEMPTS: u32 = 5;
/// What a model directory may hold beside its weights; everything else of a repository stays there.
const WANTED: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
];

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub does not have it, or does not show it to us.
    #[error("{url}: {what}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What came back.
        what: String,
    },
    /// The connection failed.
    #[error("{url}: {what}; what has arrived is kept, the same command goes on from there")]
    Broken {
        /// What was asked for.
        url: String,
        /// What the system says.
        what: String,
    },
    /// The bytes are not those that the hub has.
    #[error("{}: arrived damaged ({what}); removed, please fetch it again", path.display())]
    Damaged {
        /// Where it would have been.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A repository's files that a model needs, at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit that all files are taken from.
    pub commit: String,
    /// In the order of the repository.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the repository's root.
    pub name: String,
    /// In bytes, if the hub says.
    pub size: Option<u64>,
    /// In hexadecimal, if the hub says (it does for weights).
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct RawListing {
    sha: Option<String>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// The hub, asked by one client.
pub struct Hub {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    /// At an address, with a token for what is not public.
    ///
    /// # Errors
    /// If it is encrypted, and the system trusts nobody.
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self, String> {
        let tls = match endpoint.starts_with("https://") {
            true => Trust::load(None)?.config(),
            false => ureq::tls::TlsConfig::default(),
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .tls_config(tls)
            .user_agent(concat!("brainstem/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, endpoint: endpoint.trim_end_matches('/').to_owned(), token })
    }

    /// What of a repository a model needs.
    ///
    /// # Errors
    /// If the hub does not have it, or it is no model that could be loaded.
    pub fn list(&self, repository: &str, revision: &str) -> Result<Listing, HubError> {
        let url = format!("{}/api/models/{repository}/revision/{revision}?blobs=true", self.endpoint);
        let refused = |what: String| HubError::Refused { url: url.clone(), what };
        let mut response = self.get(&url, 0)?;
        let raw: RawListing =
            response.body_mut().read_json().map_err(|e| refused(format!("no list of files: {e}")))?;
        let files: Vec<Entry> =
            raw.siblings.into_iter().filter(|s| wanted(&s.rfilename)).map(Sibling::entry).collect();
        if !files.iter().any(|file| file.name.ends_with(".safetensors")) {
            return Err(refused(
                "has no model.safetensors; only weights in that format can be loaded".into(),
            ));
        }
        Ok(Listing { commit: raw.sha.unwrap_or_else(|| revision.to_owned()), files })
    }

    /// Fetches one file into a directory; what is there whole is left, what is there in part is completed. `progress`
    /// hears how many bytes there are.
    ///
    /// # Errors
    /// If it cannot be fetched or written, or arrives damaged.
    pub fn fetch(
        &self,
        repository: &str,
        commit: &str,
        entry: &Entry,
        into: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HubError> {
        let path = into.join(&entry.name);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| HubError::Io { path, source }
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io(folder))?;
        }
        // Without a checksum equal lengths say little: what is small is fetched anew, and whole, each time.
        let sure = entry.sha256.is_some();
        if sure && path.exists() && check(&path, entry).map_err(io(&path))?.is_none() {
            progress(std::fs::metadata(&path).map_err(io(&path))?.len());
            return Ok(());
        }
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        if !sure && part.exists() {
            std::fs::remove_file(&part).map_err(io(&part))?;
        }
        let url = format!("{}/{repository}/resolve/{commit}/{}", self.endpoint, entry.name);
        let mut attempt = 1;
        loop {
            match self.more(&url, &part, entry, progress) {
                Ok(()) => break,
                Err(HubError::Broken { .. }) if attempt < ATTEMPTS => {
                    std::thread::sleep(Duration::from_millis(200) * 2u32.pow(attempt));
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(what) = check(&part, entry).map_err(io(&part))? {
            std::fs::remove_file(&part).map_err(io(&part))?;
            return Err(HubError::Damaged { path, what });
        }
        std::fs::rename(&part, &path).map_err(io(&path))
    }

    /// The bytes that a part lacks.
    fn more(
        &self,
        url: &str,
        part: &Path,
        entry: &Entry,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HubError> {
        let io = |source| HubError::Io { path: part.to_owned(), source };
        let broken = |what: String| HubError::Broken { url: url.to_owned(), what };
        let mut have = std::fs::metadata(part).map_or(0, |metadata| metadata.len());
        if entry.size.is_some_and(|size| have == size) && have > 0 {
            return Ok(());
        }
        if entry.size.is_some_and(|size| have > size) {
            have = 0;
        }
        let mut response = self.get(url, have)?;
        let goes_on = response.status() == 206;
        if have > 0 && !goes_on {
            // A server that knows no ranges sends all of it.
            have = 0;
        }
        let mut file: File = OpenOptions::new()
            .create(true)
            .write(true)
            .append(goes_on)
            .truncate(!goes_on)
            .open(part)
            .map_err(io)?;
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        progress(have);
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error.to_string())),
            };
            file.write_all(buffer.get(..read).unwrap_or_default()).map_err(io)?;
            have += read as u64;
            if let Some(size) = entry.size.filter(|size| have > *size) {
                let what = format!("more than the {size} bytes that the hub named");
                return Err(HubError::Damaged { path: part.to_owned(), what });
            }
            progress(have);
        }
        file.flush().map_err(io)?;
        match entry.size {
            Some(size) if have < size => Err(broken(format!("{have} of {size} bytes came"))),
            _ => Ok(()),
        }
    }

    fn get(&self, url: &str, from: u64) -> Result<http::Response<ureq::Body>, HubError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let broken = |e: ureq::Error| HubError::Broken { url: url.to_owned(), what: e.to_string() };
        let response = request.call().map_err(broken)?;
        let what = match response.status().as_u16() {
            200 | 206 => return Ok(response),
            status @ (401 | 403) => {
                format!("{status}: not public, or no such repository; HF_TOKEN names your token")
            }
            404 => "404: no such repository, revision or file".to_owned(),
            status @ (408 | 429 | 500..) => {
                return Err(HubError::Broken { url: url.to_owned(), what: format!("the hub says {status}") });
            }
            status => format!("the hub says {status}"),
        };
        Err(HubError::Refused { url: url.to_owned(), what })
    }
}

impl Sibling {
    fn entry(self) -> Entry {
        let size = self.lfs.as_ref().and_then(|lfs| lfs.size).or(self.size);
        let sha256 = self.lfs.and_then(|lfs| lfs.sha256).map(|sum| sum.to_ascii_lowercase());
        Entry { name: self.rfilename, size, sha256 }
    }
}

/// Whether a model needs that file: the known names, and weights at the root.
fn wanted(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let shard = name.starts_with("model-") && name.ends_with(".safetensors") && name.bytes().all(plain);
    name == "model.safetensors" || shard || WANTED.contains(&name)
}

/// What is wrong with a file, if anything is.
fn check(path: &Path, entry: &Entry) -> io::Result<Option<String>> {
    let length = std::fs::metadata(path)?.len();
    if let Some(size) = entry.size.filter(|size| *size != length) {
        return Ok(Some(format!("{length} bytes, the hub has {size}")));
    }
    let Some(expected) = &entry.sha256 else { return Ok(None) };
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((found != *expected).then(|| format!("SHA-256 {found}, the hub has {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_model_needs_is_fetched() {
        for name in
            ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "1_Pooling/config.json"]
        {
            assert!(wanted(name), "{name}");
        }
        for name in [
            "pytorch_model.bin",
            "onnx/model.safetensors",
            "../model-a.safetensors",
            "model-x/../a.safetensors",
            "README.md",
        ] {
            assert!(!wanted(name), "{name}");
        }
    }
}
