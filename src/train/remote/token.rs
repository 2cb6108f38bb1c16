//! The secret that a worker and those who may use it have in a file each. It is never sent: both sides prove that they have
//! it by the HMAC-SHA256 (RFC 2104) of numbers that both have just drawn, so that who listens on the network, or on a port
//! that is no worker's, learns nothing that could be used again.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// Names the file with the token for a run that uses workers. A command line and a config are seen by others.
pub(crate) const VARIABLE: &str = "KILN_TOKEN_FILE";

/// The shortest and the longest token, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;

/// How to make a file with a token that nobody else can read.
const MAKE: &str = "make one: (umask 077; openssl rand -hex 32 > worker.token)";

/// A number that is drawn for one connection.
pub(super) type Nonce = [u8; 32];

/// What proves that a side has the token.
pub(super) type Proof = [u8; 32];

/// The secret. It shows itself nowhere.
#[derive(Clone)]
pub(crate) struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token in the file at `path`, without the space around it.
    ///
    /// # Errors
    /// A usage error when it cannot be read, others on this machine can read it, or it is too short to be a secret.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| {
            Error::usage(format!("cannot read the token in `{shown}`")).caused_by(error).tip(MAKE)
        };
        let file = File::open(path).map_err(unreadable)?;
        refuse_public(&file, path)?;
        let mut text = Vec::new();
        file.take(*LENGTHS.end() as u64 + 2).read_to_end(&mut text).map_err(unreadable)?;
        Self::of(&text).map_err(|found| {
            let (least, most) = (LENGTHS.start(), LENGTHS.end());
            Error::usage(format!("the token in `{shown}` must have {least} to {most} bytes, {found}")).tip(MAKE)
        })
    }

    fn of(text: &[u8]) -> Result<Self, String> {
        match text.trim_ascii() {
            [] => Err("the file is empty".to_owned()),
            token if LENGTHS.contains(&token.len()) => Ok(Self(token.to_vec())),
            token if token.len() < *LENGTHS.start() => Err(format!("got {}", token.len())),
            _ => Err("got more".to_owned()),
        }
    }

    /// The token in the file that the environment names.
    ///
    /// # Errors
    /// A usage error when it names none, and as [`Token::read`].
    pub(crate) fn from_environment() -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(path) if !path.is_empty() => Self::read(&PathBuf::from(path)),
            _ => Err(Error::usage(format!(
                "a worker asks for its token, and the environment's {VARIABLE} names no file"
            ))
            .tip(format!(
                "export {VARIABLE}=FILE, a copy of the file that the worker was started with (--token-file)"
            ))),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// The proof of the side called `side`.
    pub(super) fn proof(&self, side: &str, nonces: [&Nonce; 2]) -> Proof {
        hmac(&self.0, &[b"kiln worker\n", side.as_bytes(), b"\n", nonces[0], nonces[1]])
    }
}

/// Whether both are the same, in a time that does not depend on where they differ.
pub(super) fn are_equal(one: &Proof, other: &Proof) -> bool {
    let difference = one.iter().zip(other).fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    std::hint::black_box(difference) == 0
}

/// HMAC-SHA256 of the concatenated `message`.
fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let begun = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
    let inner = message.iter().fold(begun(0x36), |hash, part| hash.chain_update(part)).finalize();
    begun(0x5c).chain_update(inner).finalize().into()
}

#[cfg(unix)]
fn refuse_public(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let shown = path.display();
    let metadata =
        file.metadata().map_err(|error| Error::usage(format!("cannot look at `{shown}`")).caused_by(error))?;
    if metadata.is_file() && metadata.mode() & 0o004 != 0 {
        return Err(Error::usage(format!("everybody on this machine can read the token in `{shown}`"))
            .tip(format!("chmod 600 {}; and if others may have seen it, make a new one", crate::error::quoted(path))));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_public(_file: &File, _path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_hmac_sha256() {
        // RFC 4231, test cases 2 and 6.
        let short = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex::encode(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_proof_is_of_one_side_one_token_and_one_connection() {
        let token = Token::for_tests("a token of some length");
        let (one, two) = ([1; 32], [2; 32]);
        let proof = token.proof("run", [&one, &two]);
        assert!(are_equal(&proof, &token.proof("run", [&one, &two])));
        for other in [
            token.proof("worker", [&one, &two]),
            token.proof("run", [&two, &one]),
            token.proof("run", [&one, &one]),
            Token::for_tests("another token of length").proof("run", [&one, &two]),
        ] {
            assert!(!are_equal(&proof, &other));
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn files_that_hold_no_secret_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &[u8], mode: u32| {
            std::fs::write(&path, text).unwrap();
            #[cfg(unix)]
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| error.render().replace(&path.display().to_string(), "FILE"))
        };
        assert_eq!(write(b"  0123456789abcdef\n", 0o600).unwrap().0, b"0123456789abcdef");
        insta::assert_snapshot!(write(b" \n", 0o600).unwrap_err(), @r"
        error: the token in `FILE` must have 16 to 1024 bytes, the file is empty
        tip: make one: (umask 077; openssl rand -hex 32 > worker.token)
        ");
        assert!(write(b"0123456789abcde\n", 0o600).unwrap_err().contains("16 to 1024 bytes, got 15"));
        assert!(write(&[b'x'; 2000], 0o600).unwrap_err().contains("16 to 1024 bytes, got more"));
        #[cfg(unix)]
        insta::assert_snapshot!(write(b"0123456789abcdef\n", 0o644).unwrap_err(), @r"
        error: everybody on this machine can read the token in `FILE`
        tip: chmod 600 FILE; and if others may have seen it, make a new one
        ");
        std::fs::remove_file(&path).unwrap();
        assert!(Token::read(&path).unwrap_err().render().contains("cannot read the token"));
    }
}
