//! Every URI we mint carries the way home: the user's key, sealed, and never a node.

use crate::Impi;
use crate::cx::Secret;
use aes_siv::{KeyInit, siv::Aes128Siv};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;

/// Seals a private user identity into the user part of a SIP URI, and opens it again.
///
/// AES-SIV (RFC 5297) is deterministic and authenticated: a token can be neither forged nor read outside the
/// cluster, and any node that holds the key can open it without a lookup. It says *where*, never *who*.
#[derive(Clone)]
pub struct Tokens {
    key: Secret,
}

/// What a token leads to; the letter is sealed in with the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Service-Route of a registration: originating requests.
    ServiceRoute,
    /// Contact of a reg-event dialog: in-dialog SUBSCRIBE.
    RegEvent,
    /// Record-Route of a session.
    RecordRoute,
    /// Original dialog identifier.
    OriginalDialog,
    /// Temporary GRUU.
    TemporaryGruu,
}

/// The shortest token there is: its letter, and in base64 a tag, a discriminator and one octet of identity.
const SHORTEST: usize = 1 + 34;

/// Stands between a private user identity, which cannot hold it, and a note.
const NOTE: u8 = 0;

impl TokenKind {
    const fn letter(self) -> &'static [u8] {
        match self {
            Self::ServiceRoute => b"s",
            Self::RegEvent => b"e",
            Self::RecordRoute => b"r",
            Self::OriginalDialog => b"o",
            Self::TemporaryGruu => b"g",
        }
    }

    const ALL: [Self; 5] =
        [Self::ServiceRoute, Self::RegEvent, Self::RecordRoute, Self::OriginalDialog, Self::TemporaryGruu];
}

impl Tokens {
    /// Uses the cluster's secret, 32 octets.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: Secret::new(secret) }
    }

    fn cipher(&self) -> Option<Aes128Siv> {
        Aes128Siv::new_from_slice(self.key.reveal()).ok()
    }

    /// The token of `impi` for `kind`, with `discriminator` sealed in (a binding, a subscription, a session).
    pub fn mint(&self, kind: TokenKind, impi: &Impi, discriminator: u64) -> String {
        self.mint_with(kind, impi, discriminator, &[])
    }

    /// The same with more sealed in.
    pub fn mint_with(&self, kind: TokenKind, impi: &Impi, discriminator: u64, note: &[u8]) -> String {
        let mut plain = Vec::with_capacity(9 + impi.as_str().len() + note.len());
        plain.extend_from_slice(&discriminator.to_be_bytes());
        plain.extend_from_slice(impi.as_str().as_bytes());
        if !note.is_empty() {
            plain.push(NOTE);
            plain.extend_from_slice(note);
        }
        let sealed = self.cipher().and_then(|mut cipher| cipher.encrypt([kind.letter()], &plain).ok());
        let mut token = String::from_utf8_lossy(kind.letter()).into_owned();
        URL_SAFE_NO_PAD.encode_string(sealed.unwrap_or_default(), &mut token);
        token
    }

    /// What `user` (the user part of a URI) leads to, if this cluster minted it.
    pub fn open(&self, user: &str) -> Option<(TokenKind, Impi, u64)> {
        self.open_with(user).map(|(kind, impi, discriminator, _)| (kind, impi, discriminator))
    }

    /// The same with what else was sealed in.
    pub fn open_with(&self, user: &str) -> Option<(TokenKind, Impi, u64, Vec<u8>)> {
        // Most user parts are names and numbers.
        if user.len() < SHORTEST {
            return None;
        }
        let kind = *TokenKind::ALL.iter().find(|kind| user.as_bytes().first() == kind.letter().first())?;
        let sealed = URL_SAFE_NO_PAD.decode(user.get(1..)?).ok()?;
        let plain = self.cipher()?.decrypt([kind.letter()], &sealed).ok()?;
        let (discriminator, rest) = plain.split_at_checked(8)?;
        let (impi, note) = match rest.iter().position(|octet| *octet == NOTE) {
            Some(at) => (&rest[..at], rest[at + 1..].to_vec()),
            None => (rest, Vec::new()),
        };
        let impi = Impi::new(std::str::from_utf8(impi).ok()?)?;
        Some((kind, impi, u64::from_be_bytes(discriminator.try_into().ok()?), note))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_minted_opens_and_nothing_else_does() {
        let tokens = Tokens::new(&[7; 32]);
        let impi = Impi::new("alice@ims.example").unwrap();
        let token = tokens.mint(TokenKind::RegEvent, &impi, 42);
        assert_eq!(tokens.open(&token), Some((TokenKind::RegEvent, impi.clone(), 42)));
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(Tokens::new(&[8; 32]).open(&token), None);
        let mut forged = token.into_bytes();
        let last = forged.len() - 1;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(tokens.open(std::str::from_utf8(&forged).unwrap()), None);
        assert_eq!(tokens.open(""), None);
        let noted = tokens.mint_with(TokenKind::OriginalDialog, &impi, 7, b"\0\x01sip:a@b");
        assert_eq!(
            tokens.open_with(&noted),
            Some((TokenKind::OriginalDialog, impi, 7, b"\0\x01sip:a@b".to_vec()))
        );
        assert_eq!(tokens.open("alice"), None);
    }

    #[test]
    fn the_shortest_token_opens() {
        let tokens = Tokens::new(&[7; 32]);
        let impi = Impi::new("a").unwrap();
        let token = tokens.mint(TokenKind::ServiceRoute, &impi, 1);
        assert_eq!((token.len(), tokens.open(&token)), (SHORTEST, Some((TokenKind::ServiceRoute, impi, 1))));
    }

    #[test]
    fn one_kind_does_not_pass_for_another() {
        let tokens = Tokens::new(&[7; 32]);
        let impi = Impi::new("alice@ims.example").unwrap();
        let token = tokens.mint(TokenKind::RegEvent, &impi, 1);
        assert_eq!(tokens.open(&format!("s{}", &token[1..])), None);
    }
}
