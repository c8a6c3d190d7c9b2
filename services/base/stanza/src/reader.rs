//! Turns frames into elements, strictly: what another parser could read otherwise is refused.
//!
//! In: the header and the stanzas of one stream, as the framer cut them. Out: [`StreamHeader`] and
//! [`Element`]. quick-xml finds the tags; everything that it lets through and RFC 6120 11 or XML
//! Namespaces forbid is checked here.
//!
//! **Invariants**
//! - The header's declarations stay in scope; those of a stanza end with it.
//! - Nothing is repaired. After a fault the stream is over; the caller reads no more.
//! - Names, namespaces and text of an element are valid XML, so it can be written again.
//! - CDATA becomes text; comments, declarations and entities never get here.

mod value;

use quick_xml::Reader as Tags;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, NamespaceResolver, PrefixDeclaration, QName, ResolveResult};
use smol_str::SmolStr;

use crate::element::{Attribute, Element};
use crate::error::StreamFault;
use crate::framer::Framing;
use crate::header::StreamHeader;
use crate::limits::{Limits, NAMESPACE_BYTES};
use crate::name;
use crate::ns::{self, Ns};

/// Unknown namespaces that a reader remembers, so that a repeated one is stored once.
const REMEMBERED: usize = 8;

/// The reader of one stream.
#[derive(Debug)]
pub struct Reader {
    scope: NamespaceResolver,
    level: u16,
    content: Ns,
    framing: Framing,
    limits: Limits,
    /// Elements that are not closed yet; kept for its memory.
    open: Vec<Element>,
    remembered: Vec<Ns>,
    /// Bytes that namespaces may add to the canonical form of the present stanza.
    growth: usize,
}

impl Reader {
    /// A reader for a stream whose stanzas are in `content`.
    pub fn new(content: Ns, framing: Framing, limits: Limits) -> Self {
        Self {
            scope: NamespaceResolver::default(),
            level: 0,
            content,
            framing,
            limits,
            open: Vec::new(),
            remembered: Vec::new(),
            growth: 0,
        }
    }

    /// Sets the limits, as after authentication.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Reads a stream header and takes its declarations into scope for all that follows.
    ///
    /// # Errors
    /// The fault that ends the stream.
    pub fn open(&mut self, frame: &[u8]) -> Result<StreamHeader, StreamFault> {
        let text = checked(frame)?;
        self.scope = NamespaceResolver::default();
        self.level = 0;
        self.growth = 0;
        match self.framing {
            Framing::Stream => self.open_stream(text),
            Framing::WebSocket => {
                let open = self.tree(text)?;
                if open.is("open", &ns::FRAMING) {
                    self.header(&open)
                } else {
                    Err(StreamFault::StreamNamespace)
                }
            }
        }
    }

    fn open_stream(&mut self, text: &str) -> Result<StreamHeader, StreamFault> {
        let mut tags = Tags::from_str(text);
        let Ok(Event::Start(tag)) = tags.read_event() else {
            return Err(StreamFault::NotWellFormed);
        };
        let open = self.start(&tag)?;
        if open.ns() != &ns::STREAMS {
            return Err(StreamFault::StreamNamespace);
        }
        // RFC 6120 4.8.5: another prefix than `stream` may be refused; the end tag is known then.
        if !tag.name().into_inner().starts_with("stream:") {
            return Err(StreamFault::StreamPrefix);
        }
        if open.name() != "stream" {
            return Err(StreamFault::StreamHeader);
        }
        match self.scope.resolve_prefix(None, true) {
            ResolveResult::Bound(Namespace(uri)) if self.content == uri => self.header(&open),
            _ => Err(StreamFault::StreamNamespace),
        }
    }

    fn header(&self, open: &Element) -> Result<StreamHeader, StreamFault> {
        let header = StreamHeader::from_element(open, self.content.clone())?;
        // RFC 6120 4.7.5; XEP-0114 predates versions.
        if header.version.is_none() && self.content != ns::COMPONENT {
            return Err(StreamFault::Version);
        }
        Ok(header)
    }

    /// Reads one first-level element.
    ///
    /// # Errors
    /// The fault that ends the stream.
    pub fn element(&mut self, frame: &[u8]) -> Result<Element, StreamFault> {
        let element = self.tree(checked(frame)?)?;
        // RFC 7395 3.3.3: without a stream root nothing but the element itself can declare it.
        if self.framing == Framing::WebSocket && element.ns().is_none() {
            return Err(StreamFault::MissingNamespace);
        }
        Ok(element)
    }

    fn tree(&mut self, text: &str) -> Result<Element, StreamFault> {
        self.open.clear();
        self.growth = 0;
        let mut tags = Tags::from_str(text);
        loop {
            let event = tags.read_event().map_err(|_| StreamFault::NotWellFormed)?;
            let done = match event {
                Event::Start(tag) => {
                    let element = self.start(&tag)?;
                    self.open.push(element);
                    continue;
                }
                Event::Empty(tag) => Some(self.start(&tag)?),
                Event::End(_) => self.open.pop(),
                Event::Text(text) => {
                    self.push_text(value::text(&text)?.as_ref())?;
                    continue;
                }
                Event::CData(text) => {
                    self.push_text(value::lines(&text).as_ref())?;
                    continue;
                }
                Event::GeneralRef(reference) => {
                    let c = value::reference(&reference)?;
                    self.push_text(c.encode_utf8(&mut [0; 4]))?;
                    continue;
                }
                _ => return Err(StreamFault::NotWellFormed),
            };
            self.leave();
            let done = done.ok_or(StreamFault::NotWellFormed)?;
            match self.open.last_mut() {
                Some(parent) => parent.push(done),
                None => return Ok(done),
            }
        }
    }

    fn push_text(&mut self, text: &str) -> Result<(), StreamFault> {
        let parent = self.open.last_mut().ok_or(StreamFault::StrayText)?;
        parent.push_checked_text(text);
        Ok(())
    }

    fn leave(&mut self) {
        self.level = self.level.saturating_sub(1);
        self.scope.set_level(self.level);
    }

    /// Reads a start tag and enters its scope.
    fn start(&mut self, tag: &BytesStart<'_>) -> Result<Element, StreamFault> {
        self.level = self.level.checked_add(1).ok_or(StreamFault::TooDeep)?;
        self.scope.set_level(self.level);
        let raw = tag.attributes_raw();
        if mentions_xmlns(raw) {
            self.declare(tag)?;
        }
        let (prefix, local) = name::split(tag.name().into_inner()).ok_or(StreamFault::BadName)?;
        // Nothing that we know is named so, and it could not be written with a default namespace.
        if matches!(prefix, Some("xml" | "xmlns")) {
            return Err(StreamFault::ReservedNamespace);
        }
        let ns = self.resolve(tag.name(), true)?;
        if self.open.last().is_none_or(|parent| parent.ns() != &ns) {
            self.grow(&ns)?;
        }
        let mut element = Element::bare(SmolStr::new(local), ns);
        if !raw.is_empty() {
            self.attributes(tag, &mut element)?;
        }
        Ok(element)
    }

    fn declare(&mut self, tag: &BytesStart<'_>) -> Result<(), StreamFault> {
        let mut count = 0;
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| StreamFault::NotWellFormed)?;
            let Some(declared) = attribute.key.as_namespace_binding() else {
                continue;
            };
            count += 1;
            if count > self.limits.declarations {
                return Err(StreamFault::TooComplex);
            }
            let uri = value::attribute(&attribute.value)?;
            if uri.len() > NAMESPACE_BYTES {
                return Err(StreamFault::TooLarge);
            }
            // XML Namespaces 3: these two are bound to their prefixes and to no other. White space in
            // a name is read differently by different parsers, so no name has any.
            let reserved = uri == ns::XMLNS || uri.contains(|c: char| c.is_ascii_whitespace());
            match declared {
                PrefixDeclaration::Default if reserved || ns::XML == uri.as_ref() => {
                    return Err(StreamFault::ReservedNamespace);
                }
                PrefixDeclaration::Named(_) if reserved || uri.is_empty() => {
                    return Err(StreamFault::ReservedNamespace);
                }
                PrefixDeclaration::Named(prefix) if !name::is_ncname(prefix) => {
                    return Err(StreamFault::BadName);
                }
                _ => {}
            }
            if self.declared_here(&declared) {
                return Err(StreamFault::DuplicateAttribute);
            }
            let bound = self.scope.add(declared, Namespace(&uri));
            bound.map_err(|_| StreamFault::ReservedNamespace)?;
        }
        Ok(())
    }

    fn declared_here(&self, declared: &PrefixDeclaration<'_>) -> bool {
        self.scope
            .bindings_of(self.level)
            .any(|(known, _)| &known == declared)
    }

    fn attributes(&mut self, tag: &BytesStart<'_>, to: &mut Element) -> Result<(), StreamFault> {
        let mut foreign = 0;
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| StreamFault::NotWellFormed)?;
            if to.attributes().len() >= self.limits.attributes {
                return Err(StreamFault::TooComplex);
            }
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (prefix, local) =
                name::split(attribute.key.into_inner()).ok_or(StreamFault::BadName)?;
            let ns = match prefix {
                None => Ns::NONE,
                Some(_) => {
                    let ns = self.resolve(attribute.key, false)?;
                    self.grow(&ns)?;
                    ns
                }
            };
            if to.attribute_in(&ns, local).is_some() {
                return Err(StreamFault::DuplicateAttribute);
            }
            let value = value::attribute(&attribute.value)?;
            // What is accepted must be acceptable as it will be written: with a default namespace and
            // one declaration for each foreign namespace.
            if prefix.is_some() && to.attributes().iter().all(|other| other.ns != ns) {
                foreign += 1;
            }
            to.attributes_mut().push(Attribute {
                ns,
                name: SmolStr::new(local),
                value: SmolStr::new(value),
            });
        }
        let declarations = foreign + 1;
        if declarations > self.limits.declarations
            || to.attributes().len() + declarations > self.limits.attributes
        {
            return Err(StreamFault::TooComplex);
        }
        Ok(())
    }

    /// The namespace of a name in the present scope.
    fn resolve(&mut self, name: QName<'_>, is_element: bool) -> Result<Ns, StreamFault> {
        let uri = match self.scope.resolve_prefix(name.prefix(), is_element) {
            ResolveResult::Bound(Namespace(uri)) => uri,
            ResolveResult::Unbound => return Ok(Ns::NONE),
            ResolveResult::Unknown(_) => return Err(StreamFault::BadPrefix),
        };
        if let Some(parent) = self.open.last().filter(|parent| parent.ns() == uri) {
            return Ok(parent.ns().clone());
        }
        if let Some(known) = self.remembered.iter().find(|known| *known == uri) {
            return Ok(known.clone());
        }
        let ns = Ns::new(uri);
        if self.remembered.len() < REMEMBERED {
            self.remembered.push(ns.clone());
        } else if let Some(oldest) = self.remembered.first_mut() {
            *oldest = ns.clone();
            self.remembered.rotate_left(1);
        }
        Ok(ns)
    }

    /// Counts what the canonical form will have to say where the sender used a prefix.
    fn grow(&mut self, ns: &Ns) -> Result<(), StreamFault> {
        self.growth = self.growth.saturating_add(ns.as_str().len());
        if self.growth > self.limits.stanza_bytes {
            return Err(StreamFault::TooComplex);
        }
        Ok(())
    }
}

/// Whether a start tag may hold a declaration; most do not, and are read once only.
fn mentions_xmlns(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    memchr::memchr_iter(b'x', bytes).any(|at| {
        bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(b"xmlns"))
    })
}

/// Checks the encoding and every character of a frame at once.
fn checked(frame: &[u8]) -> Result<&str, StreamFault> {
    let text = std::str::from_utf8(frame).map_err(|_| StreamFault::BadUtf8)?;
    if name::all_chars(text) {
        Ok(text)
    } else {
        Err(StreamFault::BadCharacter)
    }
}

#[cfg(test)]
mod tests;
