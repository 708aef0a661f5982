//! The file of access tokens: TOML, one table for each token, the token itself only as its hash.
//!
//! ```toml
//! [[token]]
//! name = "ci"
//! scope = "submit"
//! functions = ["img.*"]
//! sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! ```
//!
//! A token is 256 random bits, so that a plain hash is as good as a slow one: docs/decisions/0009.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::types::Pattern;

/// What a token allows. Each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To look at everything.
    Read,
    /// To submit jobs.
    Submit,
    /// To change what others submitted, and how the server works.
    Operate,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Read => "read",
            Scope::Submit => "submit",
            Scope::Operate => "operate",
        })
    }
}

/// A token as it is known here.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub name: Arc<str>,
    pub scope: Scope,
    /// Functions that it is good for; empty: all.
    pub functions: Arc<[Pattern]>,
    hash: [u8; 32],
}

impl Token {
    /// Whether this is the hash of the token's text. Takes as long whatever is wrong.
    pub fn is(&self, hash: &[u8; 32]) -> bool {
        constant_time_eq::constant_time_eq_32(&self.hash, hash)
    }
}

/// What a token's text is known by.
pub(super) fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Why the file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read or written.
    #[error("the file of access tokens {path}: {source}", path = path.display())]
    Io {
        /// As it was said.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what such a file is.
    #[error("the file of access tokens {path}: {source}", path = path.display())]
    Toml {
        /// As it was said.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: Box<toml::de::Error>,
    },
    /// A hash that is none.
    #[error("the file of access tokens {path}: the sha256 of token {name:?} must be 64 hexadecimal digits", path = path.display())]
    Hash {
        /// As it was said.
        path: PathBuf,
        /// The token's name.
        name: String,
    },
    /// Two tokens of one name.
    #[error("the file of access tokens {path} has a token {name:?} already", path = path.display())]
    Twice {
        /// As it was said.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    scope: Scope,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    functions: Vec<String>,
    sha256: String,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Vec<Token>, TokensError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TokensError::Io { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Token>, TokensError> {
    let path = path.to_owned();
    let file: File = toml::from_str(text)
        .map_err(|source| TokensError::Toml { path: path.clone(), source: Box::new(source) })?;
    let mut tokens: Vec<Token> = Vec::with_capacity(file.token.len());
    for Entry { name, scope, functions, sha256 } in file.token {
        let Some(hash) = from_hex(&sha256) else { return Err(TokensError::Hash { path, name }) };
        if tokens.iter().any(|token| *token.name == name) {
            return Err(TokensError::Twice { path, name });
        }
        let functions = functions.iter().map(Pattern::new).collect();
        tokens.push(Token { name: name.into(), scope, functions, hash });
    }
    Ok(tokens)
}

/// Makes a token, adds it to the file, which is made if there is none, and returns its text: the only time that it is
/// told.
///
/// # Errors
/// The file cannot be used, or has a token of this name.
pub fn create(path: &Path, name: &str, scope: Scope, functions: &[String]) -> Result<String, TokensError> {
    let fault = |source| TokensError::Io { path: path.to_owned(), source };
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(fault)?,
    };
    if parse(path, &before)?.iter().any(|token| *token.name == *name) {
        return Err(TokensError::Twice { path: path.to_owned(), name: name.to_owned() });
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| fault(io::Error::other(error.to_string())))?;
    let token = format!("gh_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let sha256 = hash(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = Entry { name: name.to_owned(), scope, functions: functions.to_vec(), sha256 };
    let added = toml::to_string(&File { token: vec![entry] })
        .map_err(|error| fault(io::Error::other(error.to_string())))?;
    let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    // Appended: what the operator wrote beside stays as it is.
    let mut file =
        std::fs::File::options().create(true).append(true).mode(0o600).open(path).map_err(fault)?;
    file.write_all(format!("{gap}{added}").as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    Ok(token)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 64).then_some(bytes)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_made_is_known_by_its_hash_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let first = create(&path, "ci", Scope::Submit, &["img.*".to_owned()]).unwrap();
        let second = create(&path, "eyes", Scope::Read, &[]).unwrap();
        let tokens = read(&path).unwrap();
        assert!(tokens[0].is(&hash(first.as_bytes())) && tokens[1].is(&hash(second.as_bytes())));
        assert!(!tokens[0].is(&hash(second.as_bytes())));
        assert_eq!((tokens[0].scope, &*tokens[0].functions), (Scope::Submit, &[Pattern::new("img.*")][..]));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&first) && !text.contains(&first[3..]), "{text}");
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let twice = create(&path, "ci", Scope::Read, &[]).unwrap_err().to_string();
        assert!(twice.contains("has a token \"ci\" already"), "{twice}");
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        let wrong = |text: &str| parse(Path::new("tokens.toml"), text).unwrap_err().to_string();
        let with = |hash: &str| format!("[[token]]\nname = \"a\"\nscope = \"read\"\nsha256 = \"{hash}\"\n");
        assert!(wrong(&with("12")).contains("token \"a\" must be 64 hexadecimal digits"));
        assert!(wrong(&with(&"g".repeat(64))).contains("64 hexadecimal digits"));
        assert!(wrong(&with("").replace("read", "root")).contains("root"));
        assert!(wrong(&format!("{0}{0}", with(&"0".repeat(64)))).contains("already"));
    }
}
