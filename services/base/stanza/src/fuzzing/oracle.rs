//! First-level elements as rxml reads them.

use rxml::{Event, Options, Parse, Parser, WithOptions};
use smol_str::SmolStr;

use crate::element::{Attribute, Element, Node};
use crate::ns::Ns;

/// Above every input, so that the oracle refuses for no reason of size.
const TOKEN_BYTES: usize = 16 * 1024 * 1024;

/// All whole first-level elements up to the first error, attributes sorted.
pub(super) fn elements(input: &[u8], chunk: usize) -> Vec<Element> {
    let mut parser = Parser::with_options(Options {
        max_token_length: TOKEN_BYTES,
        ..Options::default()
    });
    let mut open: Vec<Element> = Vec::new();
    let mut done = Vec::new();
    for part in input.chunks(chunk.max(1)) {
        let mut rest = part;
        loop {
            match parser.parse(&mut rest, false) {
                Ok(Some(event)) => apply(event, &mut open, &mut done),
                Ok(None) => return done,
                Err(rxml::error::EndOrError::NeedMoreData) => break,
                Err(_) => return done,
            }
        }
    }
    done
}

/// Whether rxml with its own limits finds a fault before it needs more input.
#[cfg(test)]
pub(super) fn refuses(input: &[u8]) -> bool {
    let mut parser = Parser::default();
    let mut rest = input;
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(_)) => {}
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => return false,
            Err(_) => return true,
        }
    }
}

fn apply(event: Event, open: &mut Vec<Element>, done: &mut Vec<Element>) {
    match event {
        Event::XmlDeclaration(..) => {}
        Event::StartElement(_, (ns, name), attributes) => {
            let mut element = Element::bare(SmolStr::new(name.as_str()), Ns::new(&ns));
            for ((ns, name), value) in attributes {
                element.attributes_mut().push(Attribute {
                    ns: Ns::new(&ns),
                    name: SmolStr::new(name.as_str()),
                    value: SmolStr::new(value),
                });
            }
            open.push(sorted(&element));
        }
        Event::EndElement(_) => {
            let element = open.pop();
            match (element, open.len()) {
                // The root is the stream.
                (None, _) | (Some(_), 0) => {}
                (Some(element), 1) => done.push(element),
                (Some(element), _) => {
                    if let Some(parent) = open.last_mut() {
                        parent.push(element);
                    }
                }
            }
        }
        Event::Text(_, text) => {
            // Text of the root is white space between stanzas.
            if let (true, Some(parent)) = (open.len() > 1, open.last_mut()) {
                parent.push_checked_text(&text);
            }
        }
    }
}

/// The same element with attributes in one order, all the way down.
pub(super) fn sorted(element: &Element) -> Element {
    let mut copy = Element::bare(SmolStr::new(element.name()), element.ns().clone());
    let mut attributes = element.attributes().to_vec();
    attributes.sort_by(|a, b| (&a.ns, &a.name).cmp(&(&b.ns, &b.name)));
    *copy.attributes_mut() = attributes;
    for child in element.children() {
        match child {
            Node::Element(child) => copy.push(sorted(child)),
            Node::Text(text) => copy.push_checked_text(text),
        }
    }
    copy
}
