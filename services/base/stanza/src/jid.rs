//! Addresses (RFC 7622): `local@domain/resource`, prepared once and compared as bytes after that.
//!
//! **Invariants**
//! - A `Jid` is always prepared; equal users are equal bytes.
//! - Preparing the prepared changes nothing; input for which that does not hold is refused.

mod prepare;

use std::fmt;
use std::str::FromStr;

use entente_core::AccountId;
use smol_str::{SmolStr, SmolStrBuilder, format_smolstr};

/// Bytes of one part (RFC 7622 3.1).
pub const PART_BYTES: usize = 1023;

/// A prepared address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    text: SmolStr,
    /// Where `@` stands; the length of the localpart, 0 without one.
    local: u16,
    /// Where the domain ends.
    domain_end: u16,
}

/// The text is not an address, or has no stable prepared form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address is not valid")]
pub struct JidError;

impl Jid {
    /// Splits and prepares an address.
    ///
    /// # Errors
    /// [`JidError`] for what RFC 7622 forbids and for what is not stable under preparation.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        if let Some(jid) = Self::plain(text) {
            return Ok(jid);
        }
        Self::prepare(text)
    }

    /// The whole preparation.
    pub(crate) fn prepare(text: &str) -> Result<Self, JidError> {
        // RFC 7622 3.1: the first slash ends the address proper, the first at sign in it the local.
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let local = local.map(prepare::local).transpose()?;
        let resource = resource.map(prepare::resource).transpose()?;
        Self::join(
            local.as_deref(),
            &prepare::domain(domain)?,
            resource.as_deref(),
        )
    }

    /// What is in prepared form already and plain ASCII, as nearly every address is.
    fn plain(text: &str) -> Option<Self> {
        let parts = prepare::plain(text.as_bytes())?;
        Some(Self {
            text: SmolStr::new(text),
            local: parts.local,
            domain_end: parts.domain_end,
        })
    }

    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Self, JidError> {
        let mut text = SmolStrBuilder::new();
        let mut at = 0;
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
            at = local.len();
        }
        text.push_str(domain);
        let end = if local.is_some() { at + 1 } else { 0 } + domain.len();
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Ok(Self {
            text: text.finish(),
            local: u16::try_from(at).map_err(|_| JidError)?,
            domain_end: u16::try_from(end).map_err(|_| JidError)?,
        })
    }

    /// The address of an account on a domain that is prepared already.
    pub fn of_account(account: AccountId, domain: &Self) -> Self {
        let local = format_smolstr!("{account}");
        // An internal id is at most 26 bytes and a domain at most 1023, so nothing can overflow.
        Self::join(Some(&local), domain.domain(), None).unwrap_or_else(|_| domain.clone())
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before `@`.
    pub fn local(&self) -> Option<&str> {
        let local = self.text.get(..usize::from(self.local))?;
        (!local.is_empty()).then_some(local)
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        let start = match self.local {
            0 => 0,
            at => usize::from(at) + 1,
        };
        let end = usize::from(self.domain_end);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The part after the first slash.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(usize::from(self.domain_end) + 1..)
    }

    /// The address without its resource, as text.
    pub fn bare_str(&self) -> &str {
        let end = usize::from(self.domain_end);
        self.text.get(..end).unwrap_or_default()
    }

    /// The address without its resource.
    #[must_use]
    pub fn to_bare(&self) -> Self {
        if self.resource().is_none() {
            return self.clone();
        }
        Self {
            text: SmolStr::new(self.bare_str()),
            ..*self
        }
    }

    /// Whether both are the same user, whatever the resources.
    pub fn is_bare_equal(&self, other: &Self) -> bool {
        self.bare_str() == other.bare_str()
    }

    /// The address with another resource.
    ///
    /// # Errors
    /// [`JidError`] if the resource cannot be prepared.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        let resource = prepare::resource(resource)?;
        Self::join(self.local(), self.domain(), Some(&resource))
    }

    /// The account, if the local part is an internal id.
    pub fn account(&self) -> Option<AccountId> {
        self.local()?.parse().ok()
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Addresses are personal: logs show only that there is one.
impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jid")
    }
}

impl From<&Jid> for SmolStr {
    fn from(jid: &Jid) -> Self {
        jid.text.clone()
    }
}

#[cfg(test)]
mod tests;
