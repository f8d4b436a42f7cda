//! The header of a safetensors file, read before anything else of it: which tensors there are, of what shape,
//! and whether all of their bytes are there.

use std::io::Read;
use std::path::Path;

use safetensors::tensor::Metadata;

use crate::fnv;
use crate::intent::weights::ModelError;

/// No header of a model that may be light is longer (the largest encoder's is 50 KB).
const MAX_HEADER: u64 = 8 << 20;

/// A file's header.
pub struct Header {
    /// Names, kinds, shapes, places.
    pub tensors: Metadata,
    /// Numbers in all tensors together.
    pub parameters: usize,
}

/// Reads the header and compares it with the file's length.
pub fn header(path: &Path) -> Result<Header, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let malformed = |what: String| ModelError::Malformed { path: path.to_owned(), what };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| malformed("cut off: no safetensors header".into()))?;
    let length = u64::from_le_bytes(start);
    if length > MAX_HEADER {
        return Err(malformed(format!("no safetensors file: its header would be {length} bytes long")));
    }
    if length + 8 > bytes {
        return Err(malformed("cut off inside the header".into()));
    }
    let mut head = Vec::new();
    file.take(length).read_to_end(&mut head).map_err(io)?;
    let tensors: Metadata = serde_json::from_slice(&head).map_err(|e| malformed(format!("header: {e}")))?;
    let wanted = 8 + length + tensors.data_len() as u64;
    if wanted != bytes {
        return Err(malformed(format!("{bytes} bytes long, its header says {wanted}: cut off or damaged")));
    }
    let parameters = tensors.tensors().values().map(|info| info.shape.iter().product::<usize>()).sum();
    Ok(Header { tensors, parameters })
}

/// Tells one file of weights from another: FNV-1a of its length, its header and a piece of its middle and end.
/// Not of all of it: a quarter of a gigabyte would be read twice at every start.
pub fn fingerprint(path: &Path) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    const PIECE: u64 = 1 << 16;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut hash = fnv::more(fnv::BASIS, &length.to_le_bytes());
    for at in [0, length / 3, length / 2, length / 3 * 2, length.saturating_sub(PIECE)] {
        file.seek(SeekFrom::Start(at))?;
        let mut piece = Vec::new();
        (&mut file).take(PIECE).read_to_end(&mut piece)?;
        hash = fnv::more(hash, &piece);
    }
    Ok(hash)
}
