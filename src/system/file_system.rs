//! Detects remote file systems and mount points.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statfs, statx};

/// File systems on a network or in a user program, by Linux's magic number.
const DISTANT: [(u32, &str); 16] = [
    (0x6573_5546, "FUSE"),
    (0x0000_6969, "NFS"),
    (0xff53_4d42, "SMB (CIFS)"),
    (0xfe53_4d42, "SMB"),
    (0x0000_517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "VirtualBox shared folders"),
    (0xbacb_acbc, "VMware shared folders"),
];

/// Local file systems, by Linux's magic number.
const LOCAL: [(u32, &str); 9] = [
    (0x0000_ef53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "Btrfs"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "F2FS"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlay"),
];

/// Returns the name of the file system of `path`, if it is a known local one.
pub fn name(path: &Path) -> Option<&'static str> {
    let number = statfs(path).ok()?.f_type as u32;
    LOCAL.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Returns the name of the file system of `path`, if it is FUSE or on a network: there locks may not work, and synced
/// data may not be on a disk.
pub fn distant(path: &Path) -> Option<&'static str> {
    let number = statfs(path).ok()?.f_type as u32;
    DISTANT.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Returns true if `path` is a mount point, which cannot be renamed. Returns false if the kernel does not report it.
pub fn is_mount_point(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|found| {
        (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_file_system_is_not_reported() {
        assert_eq!(distant(Path::new("/proc")), None);
        assert_eq!(distant(Path::new("/does/not/exist")), None);
    }
}
