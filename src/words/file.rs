//! Files of settings: keys, secrets, certificates, configuration.

use std::fs;
use std::io::{self, Error, ErrorKind, Read};
use std::path::Path;

/// All of a file of at most `bytes_max` bytes.
///
/// Only a regular file: what else a name may stand for, a pipe or a device, would keep whoever reads it waiting, and a server
/// that reads its files again must not wait for anybody.
///
/// # Errors
/// What the system says, or that it is no such file.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Before it is opened: to open a pipe is to wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes_max < bytes.len() {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "files")]
    fn only_files_that_are_short_enough_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "1234").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"1234");
        let check = |path: &Path, bytes_max: usize, expected: &str| {
            let error = read(path, bytes_max).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&path, 3, "more than 3 bytes");
        check(folder.path(), 3, "no regular file");
        check(Path::new("/dev/zero"), 3, "no regular file");
        check(&folder.path().join("nothing"), 3, "No such file");
    }
}
