//! Looking for bytes where they must not be: every file of a directory, read raw.
//!
//! What is sealed, hashed or withheld does not show; what lies anywhere in clear, in base64, in a free page or in a
//! log does. A test that looks for a canary should first find it where it is expected, in the answer of the API.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The files below `dir` that hold `needle`, as it is or inside base64 text at any of its three alignments.
pub fn files_with(dir: &Path, needle: &[u8]) -> io::Result<Vec<PathBuf>> {
    let forms = forms(needle);
    let mut found = Vec::new();
    for file in files(dir)? {
        // A file that is gone again (a socket, a staged file) holds nothing.
        let Ok(bytes) = fs::read(&file) else { continue };
        if forms.iter().any(|form| holds(&bytes, form)) {
            found.push(file);
        }
    }
    Ok(found)
}

/// Whether the memory of a running process holds the needle in any of its forms: every mapping it can read, freed
/// pages not yet given back among them. Linux; a process may read its own children's.
///
/// # Errors
/// Where `/proc` does not let this process read the other's memory.
#[cfg(target_os = "linux")]
pub fn memory_holds(pid: u32, needle: &[u8]) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;

    let forms = forms(needle);
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut buffer = vec![0; 1 << 20];
    for mapping in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let Some((range, rest)) = mapping.split_once(' ') else { continue };
        let bounds =
            range.split_once('-').map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
        let Some((Ok(mut at), Ok(end))) = bounds.filter(|_| rest.starts_with('r')) else { continue };
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            // A page that went away, or of the kernel's own ([vvar]), holds nothing of ours.
            let Ok(read @ 1..) = memory.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) else { break };
            if forms.iter().any(|form| holds(buffer.get(..read).unwrap_or_default(), form)) {
                return Ok(true);
            }
            // What may stand across two buffers is read again with the next.
            let overlap = forms.iter().map(Vec::len).max().unwrap_or_default();
            at += if at + read as u64 == end { read } else { read.saturating_sub(overlap).max(1) } as u64;
        }
    }
    Ok(false)
}

/// All files below `dir`.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `text` holds the needle in any of its forms.
#[must_use]
pub fn text_holds(text: &str, needle: &[u8]) -> bool {
    forms(needle).iter().any(|form| holds(text.as_bytes(), form))
}

/// The needle itself, and what each alignment of it always looks like in base64.
#[must_use]
pub fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![needle.to_vec()];
    for shift in 0..3_usize {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(needle);
        for text in [URL_SAFE_NO_PAD.encode(&padded), STANDARD_NO_PAD.encode(&padded)] {
            // Its first characters also depend on the bytes before, its last on those behind.
            let inner = text.as_bytes().get(shift * 8 / 6 + usize::from(shift > 0)..padded.len() * 8 / 6);
            forms.extend(inner.filter(|inner| inner.len() > 8).map(<[u8]>::to_vec));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|tail| tail.iter().position(|byte| byte == first)) {
        from += at + 1;
        if bytes.get(from..).is_some_and(|tail| tail.starts_with(rest)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDLE: &[u8] = b"+49 30 1234567 canary";

    #[test]
    fn a_needle_is_found_in_clear_and_in_base64_at_any_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        let file = dir.path().join("deep/file");
        for before in ["", "x", "xy", "xyz"] {
            let text = format!("{before}+49 30 1234567 canary{before}");
            for written in [text.clone(), URL_SAFE_NO_PAD.encode(&text), STANDARD_NO_PAD.encode(&text)] {
                fs::write(&file, format!("…{written}…")).unwrap();
                assert_eq!(files_with(dir.path(), NEEDLE).unwrap(), std::slice::from_ref(&file), "{written}");
            }
        }
        fs::write(&file, "+49 30 1234567 canar").unwrap();
        assert_eq!(files_with(dir.path(), NEEDLE).unwrap(), Vec::<PathBuf>::new());
    }
}
