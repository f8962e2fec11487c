//! Removes secrets from texts.

use std::env;

use zeroize::Zeroizing;

use crate::config::Settings;
use crate::system::secret;

/// The text that replaces a secret.
const STRUCK: &str = "***";
/// The minimum length of a secret that is removed: shorter ones occur by chance.
const CHARS_MIN: usize = 6;
/// A word of at least this many hexadecimal digits may be a token.
const TOKEN_DIGITS: usize = 40;
/// An environment variable whose name contains one of these holds a secret.
const NAMES: [&str; 6] = ["SECRET", "PASSWORD", "TOKEN", "CREDENTIAL", "ACCESS_KEY", "PRIVATE"];

/// The secrets to remove.
pub(super) struct Redactor(Vec<Zeroizing<String>>);

impl Redactor {
    /// Collects the secrets of the settings, of the files that they name, and of the environment.
    pub(super) fn new(settings: &Settings, environment: &[(String, String)]) -> Self {
        let mut redactor = Self(Vec::new());
        if let Some(key) = &settings.s3_secret_key {
            redactor.add(key.reveal());
        }
        let files = [&settings.s3_secret_key_file, &settings.admin_token_file];
        for file in files.into_iter().flatten() {
            if let Ok(text) = secret::read(file) {
                redactor.add(&text);
            }
        }
        let is_secret = |name: &str| NAMES.iter().any(|part| name.contains(part)) && !name.ends_with("_FILE");
        for (_, value) in environment.iter().filter(|(name, _)| is_secret(&name.to_ascii_uppercase())) {
            redactor.add(value);
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            if let Ok(value) = env::var(name) {
                redactor.add(&value);
            }
        }
        redactor
    }

    /// Adds a secret.
    pub(super) fn add(&mut self, secret: &str) {
        if secret.trim().len() >= CHARS_MIN {
            self.0.push(Zeroizing::new(secret.trim().to_owned()));
        }
    }

    /// Returns the text without the secrets, without passwords in URLs, and without words that may be tokens.
    pub(super) fn strike(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.as_str(), STRUCK);
        }
        without_tokens(&without_passwords(&text))
    }
}

/// Replaces the user name and the password in each URL of a text.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut struck = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end =
            part.find(|char: char| char.is_whitespace() || "/\"'<>,".contains(char)).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        let host = authority.rsplit_once('@').map(|(_, host)| format!("{STRUCK}@{host}"));
        struck = format!("{struck}://{}{rest}", host.unwrap_or_else(|| authority.to_owned()));
    }
    struck
}

/// Shortens long hexadecimal words to their first digits: they may be tokens, and the first digits of an identifier
/// are enough to recognise it.
fn without_tokens(text: &str) -> String {
    let mut struck = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|char: char| char.is_ascii_hexdigit()) {
        let digits = rest[begin..].find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(rest.len() - begin);
        let (word, after) = rest[begin..].split_at(digits);
        struck += &rest[..begin];
        if digits >= TOKEN_DIGITS {
            struck += &word[..8];
            struck += STRUCK;
        } else {
            struck += word;
        }
        rest = after;
    }
    struck + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_passwords_and_tokens_are_struck() {
        let mut redactor = Redactor(Vec::new());
        redactor.add("hunter2-hunter2");
        redactor.add("x");
        let token = "0123456789abcdef".repeat(3);
        let text = format!(
            "a hunter2-hunter2 b, postgres://me:pass@db/x?y=z@w {token}, https://example.org/@a x deadbeef"
        );
        let struck = "a *** b, postgres://***@db/x?y=z@w 01234567***, https://example.org/@a x deadbeef";
        assert_eq!(redactor.strike(&text), struck);
    }
}
