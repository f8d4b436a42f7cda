//! The console's page, served from the binary. Made by `scripts/console.sh` from `console/`, and kept beside this
//! file, so that a build of brainstem needs no node.

use http::{Response, StatusCode, header};

use super::{harden, reply};
use crate::fnv;

/// A file of the page.
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const FILES: [File; 4] = [
    File { path: "/", content_type: "text/html; charset=utf-8", content: include_str!("page/index.html") },
    File {
        path: "/console.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("page/console.js"),
    },
    File {
        path: "/console.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("page/console.css"),
    },
    File { path: "/console.svg", content_type: "image/svg+xml", content: include_str!("page/console.svg") },
];

/// The page's file of that path. A browser that has it already (`etag`) is told so.
pub(super) fn file(path: &str, has: Option<&str>) -> Option<Response<Vec<u8>>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let tag = format!("\"{:016x}\"", fnv::more(fnv::BASIS, file.content.as_bytes()));
    let mut response = if has == Some(&*tag) {
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        harden(response.headers_mut());
        response
    } else {
        reply(StatusCode::OK, file.content_type, file.content.into())
    };
    let headers = response.headers_mut();
    // Another binary may listen here the next time.
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
    if let Ok(tag) = tag.parse() {
        headers.insert(header::ETAG, tag);
    }
    Some(response)
}

/// Whether the page has a file of that path.
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}
