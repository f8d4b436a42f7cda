//! brainstem's own folding, bag of features and dev cut behind a C interface, so that training sees exactly what
//! the proxy sees. The sources are the proxy's, included by path: there is no second copy to keep in step.
#![allow(dead_code)]

use std::ffi::c_char;

#[path = "../../../src/fnv.rs"]
mod fnv;
#[path = "../../../src/intent/features.rs"]
mod features;
#[path = "../../../src/intent/holdout.rs"]
mod holdout;
#[path = "../../../src/swar.rs"]
mod swar;
#[path = "../../../src/text.rs"]
mod text;

/// As much of the proxy's labelled line as the cut looks at.
mod labelled {
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Labelled {
        pub text: String,
    }
}

/// # Safety
/// `p` points to `n` bytes of UTF-8.
unsafe fn str_at<'a>(p: *const u8, n: usize) -> &'a str {
    std::str::from_utf8(unsafe { std::slice::from_raw_parts(p, n) }).unwrap_or_default()
}

/// Folds a text into `out`; returns the bytes written, at most `cap`.
///
/// # Safety
/// `p` points to `n` bytes, `out` to `cap` writable ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fold(p: *const u8, n: usize, out: *mut u8, cap: usize) -> usize {
    let folded = text::fold(unsafe { str_at(p, n) });
    let len = folded.len().min(cap);
    unsafe { std::ptr::copy_nonoverlapping(folded.as_ptr(), out, len) };
    len
}

/// The bag of a text; returns how many features were written.
///
/// # Safety
/// `ids` and `shares` have room for `features::MAX_FEATURES`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bag(
    p: *const u8,
    n: usize,
    buckets: u32,
    gram_min: usize,
    gram_max: usize,
    ids: *mut u32,
    shares: *mut f32,
) -> usize {
    let mut bag = features::Bag::default();
    bag.fill(unsafe { str_at(p, n) }, &features::Settings { buckets, gram_min, gram_max });
    let len = bag.ids.len().min(features::MAX_FEATURES);
    unsafe {
        std::ptr::copy_nonoverlapping(bag.ids.as_ptr(), ids, len);
        std::ptr::copy_nonoverlapping(bag.shares.as_ptr(), shares, len);
    }
    len
}

/// Texts parted by newlines; `out[i]` becomes 1 for a dev line. Returns how many lines there were.
///
/// # Safety
/// `out` has room for one byte a line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cut(p: *const u8, n: usize, share: f32, seed: u64, out: *mut c_char) -> usize {
    let line = |text: &str| labelled::Labelled { text: text.into() };
    let lines: Vec<_> = unsafe { str_at(p, n) }.split('\n').map(line).collect();
    let dev = holdout::cut(&lines, share, seed);
    for (i, d) in dev.iter().enumerate() {
        unsafe { *out.add(i) = *d as c_char }
    }
    dev.len()
}
