//! `<iq/>` (RFC 6120 8.2.3).

use crate::condition::{StanzaCondition, StanzaError};
use crate::element::Element;

use super::Head;

/// What an iq is (RFC 6120 8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IqKind {
    /// It did not work.
    Error,
    /// A question.
    Get,
    /// The answer.
    Result,
    /// An order.
    Set,
}

impl IqKind {
    /// The value on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Get => "get",
            Self::Result => "result",
            Self::Set => "set",
        }
    }

    /// Whether an answer is owed.
    pub const fn is_request(self) -> bool {
        matches!(self, Self::Get | Self::Set)
    }
}

/// Question or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iq {
    /// Addresses, id and language. The id is there.
    pub head: Head,
    /// Question or answer.
    pub kind: IqKind,
    /// One element in a request, none or one in a result, at least the `<error/>` in an error.
    pub payload: Vec<Element>,
}

pub(super) fn read(element: &Element) -> Result<Iq, StanzaCondition> {
    let (head, kind) = Head::read(element)?;
    let kind = match kind {
        Some("error") => IqKind::Error,
        Some("get") => IqKind::Get,
        Some("result") => IqKind::Result,
        Some("set") => IqKind::Set,
        _ => return Err(StanzaCondition::BadRequest),
    };
    let children = element.elements().take(2).count();
    let complete = match kind {
        IqKind::Get | IqKind::Set => children == 1,
        IqKind::Result => children <= 1,
        IqKind::Error => true,
    };
    if head.id.is_none() || !complete {
        return Err(StanzaCondition::BadRequest);
    }
    Ok(Iq {
        head,
        kind,
        payload: Vec::new(),
    })
}

impl Iq {
    /// The one element of a request or result.
    pub fn payload(&self) -> Option<&Element> {
        self.payload.first()
    }

    /// The result, from the entity that was addressed.
    #[must_use]
    pub fn result(&self, payload: Option<Element>) -> Self {
        Self {
            head: self.head.swapped(),
            kind: IqKind::Result,
            payload: payload.into_iter().collect(),
        }
    }

    /// The error in answer; `None` for what is an answer itself (RFC 6120 8.3.1).
    pub fn error(&self, error: &StanzaError) -> Option<Self> {
        self.kind.is_request().then(|| Self {
            head: self.head.swapped(),
            kind: IqKind::Error,
            payload: vec![error.to_element()],
        })
    }

    /// The element, for writing.
    pub fn into_element(self) -> Element {
        let mut element = self.head.into_element("iq", Some(self.kind.as_str()));
        self.payload
            .into_iter()
            .for_each(|child| element.push(child));
        element
    }
}
