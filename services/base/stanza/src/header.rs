//! The stream header: `<stream:stream ...>`, or `<open/>` on a WebSocket.

use bytes::BytesMut;
use smol_str::SmolStr;

use crate::element::Element;
use crate::error::StreamFault;
use crate::framer::Framing;
use crate::jid::Jid;
use crate::ns::{self, Ns};
use crate::write;

/// What a stream header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// The entity that the sender wants to reach.
    pub to: Option<Jid>,
    /// The sender, if it says so.
    pub from: Option<Jid>,
    /// Major and minor version; `None` is a pre-RFC peer or a component (XEP-0114).
    pub version: Option<(u16, u16)>,
    /// The default language of the stream.
    pub lang: Option<SmolStr>,
    /// The stream id; only the answering side gives one.
    pub id: Option<SmolStr>,
    /// The content namespace, in which stanzas are.
    pub ns: Ns,
}

impl StreamHeader {
    /// The version that RFC 6120 4.7.5 defines.
    pub const VERSION: (u16, u16) = (1, 0);

    /// Reads the attributes of a header whose name was checked.
    pub(crate) fn from_element(open: &Element, content: Ns) -> Result<Self, StreamFault> {
        let address = |name| match open.attribute(name) {
            None | Some("") => Ok(None),
            Some(text) => Jid::parse(text)
                .map(Some)
                .map_err(|_| StreamFault::StreamAddress),
        };
        let version = match open.attribute("version") {
            None => None,
            Some(text) => Some(version(text).ok_or(StreamFault::Version)?),
        };
        Ok(Self {
            to: address("to")?,
            from: address("from")?,
            version,
            lang: open.attribute_in(&ns::XML, "lang").map(SmolStr::from),
            id: open.attribute("id").map(SmolStr::from),
            ns: content,
        })
    }

    /// Writes the header with its declaration, or `<open/>`.
    pub fn write_into(&self, framing: Framing, out: &mut BytesMut) {
        match framing {
            Framing::Stream => {
                out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='");
                write::attribute_text(self.ns.as_str(), b'\'', out);
                out.extend_from_slice(b"' xmlns:stream='http://etherx.jabber.org/streams'");
            }
            Framing::WebSocket => {
                out.extend_from_slice(b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'");
            }
        }
        let addresses = [("from", &self.from), ("to", &self.to)];
        for (name, jid) in addresses {
            if let Some(jid) = jid {
                write::plain_attribute(name, jid.as_str(), out);
            }
        }
        if let Some(id) = &self.id {
            write::plain_attribute("id", id, out);
        }
        if let Some((major, minor)) = self.version {
            write::plain_attribute("version", &format!("{major}.{minor}"), out);
        }
        if let Some(lang) = &self.lang {
            write::plain_attribute("xml:lang", lang, out);
        }
        out.extend_from_slice(match framing {
            Framing::Stream => b">",
            Framing::WebSocket => b"/>",
        });
    }
}

/// What ends a stream on either transport.
pub const fn closing(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Stream => b"</stream:stream>",
        Framing::WebSocket => b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
    }
}

/// RFC 6120 4.7.5: two numbers, leading zeros ignored, at least 1.0.
fn version(text: &str) -> Option<(u16, u16)> {
    let number = |digits: &str| {
        let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let (major, minor) = text.split_once('.')?;
    let version: (u16, u16) = (number(major)?, number(minor)?);
    (version.0 >= 1).then_some(version)
}
