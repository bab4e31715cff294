//! Whether overwriting a file really overwrites it.
//!
//! On ext4 with ordered data an overwritten block is the block that was there (measured: 0 copies left in the raw
//! image). A copy-on-write file system, a data journal, an overlay or a memory disk keeps or loses copies in its own
//! ways: there a destroyed slot proves nothing until its epoch key is destroyed too. A vault is always larger than what
//! ext4 keeps inline in an inode. Source: docs/spec/details.md section 10 (`media`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::Unusable;

/// `[vault] media` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaPolicy {
    /// An untrusted medium is refused.
    #[default]
    Auto,
    /// Any medium will do; erasures are certified at epoch end only.
    Untrusted,
}

/// What a vault lies on; `media` of an erasure certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The file system.
    pub kind: String,
    /// Whether a slot that was overwritten is gone.
    pub trusted: bool,
}

/// A medium and, if it is not trusted, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub media: Media,
    /// What is wrong with it.
    pub why: Option<String>,
}

/// One line of `/proc/self/mountinfo`, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    device: String,
    kind: String,
    source: String,
    options: String,
}

/// Judges the medium of `path`, which need not exist yet.
pub fn judge(path: &Path) -> Result<Judged, Unusable> {
    let table = PathBuf::from("/proc/self/mountinfo");
    let mounts = fs::read_to_string(&table).unwrap_or_default();
    let existing = existing(path)?;
    let device = existing.metadata().map_err(|error| Unusable::io(&existing, &error))?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mount = mounts.lines().filter_map(Mount::parse).filter(|mount| existing.starts_with(&mount.point));
    let Some(mount) = mount.max_by_key(|mount| mount.point.as_os_str().len()) else {
        return Ok(untrusted("unknown", "the file system cannot be told from /proc/self/mountinfo".into()));
    };
    if mount.device != format!("{major}:{minor}") {
        return Ok(untrusted(&mount.kind, "the path is not on the device that is mounted there".into()));
    }
    let name = Path::new(&mount.source).file_name().map_or(Path::new("none"), Path::new);
    let all_options = fs::read_to_string(Path::new("/proc/fs/ext4").join(name).join("options")).ok();
    Ok(verdict(&mount, all_options.as_deref()))
}

/// Judges the medium of `path` and refuses it if `policy` does.
pub fn check(path: &Path, policy: MediaPolicy) -> Result<Media, Unusable> {
    let judged = judge(path)?;
    match (policy, judged.why) {
        (MediaPolicy::Auto, Some(why)) => {
            Err(Unusable::UntrustedMedium { path: path.to_owned(), kind: judged.media.kind, why })
        }
        (MediaPolicy::Untrusted, _) => Ok(Media { trusted: false, ..judged.media }),
        (MediaPolicy::Auto, None) => Ok(judged.media),
    }
}

impl Mount {
    /// `36 35 98:0 /root /point options optional-fields - kind source super-options`
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let (device, _, point, options) = (mount.next()?, mount.next()?, mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let (kind, source, more) = (system.next()?, system.next()?, system.next().unwrap_or_default());
        Some(Self {
            point: unescape(point).into(),
            device: device.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: format!("{options},{more}"),
        })
    }
}

/// `all_options`: one a line, defaults included, as ext4 shows them in /proc.
fn verdict(mount: &Mount, all_options: Option<&str>) -> Judged {
    let listed = mount.options.split(',').chain(all_options.unwrap_or_default().lines());
    let modes: Vec<&str> = listed.filter_map(|option| option.strip_prefix("data=")).collect();
    match mount.kind.as_str() {
        "ext4" if modes.iter().all(|mode| *mode == "ordered") => {
            Judged { media: Media { kind: "ext4".into(), trusted: true }, why: None }
        }
        "ext4" => untrusted("ext4", format!("it is mounted with data={}", modes.join(","))),
        kind => untrusted(kind, "only ext4 with data=ordered is known to overwrite in place".into()),
    }
}

fn untrusted(kind: &str, why: String) -> Judged {
    Judged { media: Media { kind: kind.to_owned(), trusted: false }, why: Some(why) }
}

/// The nearest part of `path` that exists, without symbolic links.
fn existing(path: &Path) -> Result<PathBuf, Unusable> {
    let absolute = std::path::absolute(path).map_err(|error| Unusable::io(path, &error))?;
    let found = absolute.ancestors().find_map(|part| fs::canonicalize(part).ok());
    Ok(found.unwrap_or_else(|| PathBuf::from("/")))
}

/// The kernel writes blanks in mount points as `\040` and the like.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str, all_options: Option<&str>) -> Judged {
        verdict(&Mount::parse(line).unwrap(), all_options)
    }

    #[test]
    fn only_ext4_with_ordered_data_is_trusted() {
        let ext4 = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard";
        assert_eq!(judged(ext4, None).media, Media { kind: "ext4".into(), trusted: true });
        assert!(judged(ext4, Some("rw\ndata=ordered\n")).media.trusted);
        assert!(!judged(ext4, Some("rw\ndata=journal\n")).media.trusted);
        let journal = judged("27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw,data=journal", None);
        assert_eq!(journal.why.as_deref(), Some("it is mounted with data=journal"));
        for kind in ["overlay", "tmpfs", "btrfs", "xfs", "zfs", "nfs4", "fuse.sshfs"] {
            let line = format!("30 27 0:26 / /srv rw - {kind} none rw");
            assert_eq!(judged(&line, None).media, Media { kind: kind.into(), trusted: false });
        }
    }

    #[test]
    fn a_mount_point_with_blanks_is_read() {
        let mount = Mount::parse(r"30 27 0:26 / /mnt/my\040disk rw - ext4 /dev/sdb1 rw").unwrap();
        assert_eq!(mount.point, PathBuf::from("/mnt/my disk"));
    }

    #[test]
    fn a_memory_disk_is_refused_and_the_message_says_what_to_do() {
        let shm = Path::new("/dev/shm/asp-cell/vault");
        if judge(shm).unwrap().media.kind != "tmpfs" {
            return; // this machine has no memory disk there
        }
        let refused = check(shm, MediaPolicy::Auto).unwrap_err().to_string();
        assert!(refused.contains("tmpfs") && refused.contains("media = \"untrusted\""), "{refused}");
        let allowed = check(shm, MediaPolicy::Untrusted).unwrap();
        assert_eq!(allowed, Media { kind: "tmpfs".into(), trusted: false });
    }
}
