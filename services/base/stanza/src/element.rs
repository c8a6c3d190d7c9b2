//! An owned XML element: name, namespace, attributes and children.
//!
//! Prefixes are gone: the reader has resolved them, the writer makes its own. Text next to text is
//! one node, so equal content is equal trees.
//!
//! **Invariants**
//! - No empty text node, no two text nodes in a row.
//! - Dropping is iterative: a tree of any depth is freed on a small stack.

use smol_str::SmolStr;

use crate::ns::Ns;

/// One attribute; `ns` is [`Ns::NONE`] for one without a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The namespace of the prefix.
    pub ns: Ns,
    /// The local name.
    pub name: SmolStr,
    /// The value, references resolved.
    pub value: SmolStr,
}

/// A child of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Character data, references resolved.
    Text(String),
}

/// An element with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: SmolStr,
    ns: Ns,
    attributes: Vec<Attribute>,
    children: Vec<Node>,
}

impl Element {
    /// An empty element with a name that is written in the program.
    pub const fn new(name: &'static str, ns: Ns) -> Self {
        Self::bare(SmolStr::new_static(name), ns)
    }

    /// An empty element with a name that came from elsewhere and was checked there.
    pub(crate) const fn bare(name: SmolStr, ns: Ns) -> Self {
        Self {
            name,
            ns,
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub const fn ns(&self) -> &Ns {
        &self.ns
    }

    /// Whether it has this local name and namespace.
    pub fn is(&self, name: &str, ns: &Ns) -> bool {
        self.name == name && &self.ns == ns
    }

    // === Attributes ===

    /// All attributes, as they came.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The value of an attribute without a prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute_in(&Ns::NONE, name)
    }

    /// The value of an attribute of a namespace.
    pub fn attribute_in(&self, ns: &Ns, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name && &attribute.ns == ns)
            .map(|attribute| attribute.value.as_str())
    }

    /// Sets an attribute without a prefix, in its old place if it was there.
    pub fn set_attribute(&mut self, name: &'static str, value: impl Into<SmolStr>) {
        self.set_attribute_in(Ns::NONE, name, value);
    }

    /// Sets an attribute of a namespace. Characters that XML does not know are left out.
    pub fn set_attribute_in(&mut self, ns: Ns, name: &'static str, value: impl Into<SmolStr>) {
        let mut value = value.into();
        if !crate::name::all_chars(&value) {
            value = value.chars().filter(|c| crate::name::is_char(*c)).collect();
        }
        let found = self
            .attributes
            .iter_mut()
            .find(|attribute| attribute.name == name && attribute.ns == ns);
        match found {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute {
                ns,
                name: SmolStr::new_static(name),
                value,
            }),
        }
    }

    /// Removes an attribute without a prefix and returns its value.
    pub fn remove_attribute(&mut self, name: &str) -> Option<SmolStr> {
        let at = self
            .attributes
            .iter()
            .position(|attribute| attribute.name == name && attribute.ns.is_none())?;
        Some(self.attributes.remove(at).value)
    }

    /// With an attribute without a prefix.
    #[must_use]
    pub fn with_attribute(mut self, name: &'static str, value: impl Into<SmolStr>) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// With an attribute of a namespace.
    #[must_use]
    pub fn with_attribute_in(
        mut self,
        ns: Ns,
        name: &'static str,
        value: impl Into<SmolStr>,
    ) -> Self {
        self.set_attribute_in(ns, name, value);
        self
    }

    pub(crate) const fn attributes_mut(&mut self) -> &mut Vec<Attribute> {
        &mut self.attributes
    }

    // === Children ===

    /// All children in order.
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    /// The child elements in order.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(Node::as_element)
    }

    /// The first child with this name and namespace.
    pub fn child(&self, name: &str, ns: &Ns) -> Option<&Self> {
        self.elements().find(|child| child.is(name, ns))
    }

    /// The text directly in it, joined.
    pub fn text(&self) -> String {
        let parts: Vec<&str> = self.children.iter().filter_map(Node::as_text).collect();
        parts.concat()
    }

    /// Appends a child element.
    pub fn push(&mut self, child: Self) {
        self.children.push(Node::Element(child));
    }

    /// Appends text, to the last text if there is one. Characters that XML does not know are left
    /// out: they could not be written.
    pub fn push_text(&mut self, text: &str) {
        if crate::name::all_chars(text) {
            self.push_checked_text(text);
        } else {
            let clean: String = text.chars().filter(|c| crate::name::is_char(*c)).collect();
            self.push_checked_text(&clean);
        }
    }

    pub(crate) fn push_checked_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Node::Text(last)) = self.children.last_mut() {
            last.push_str(text);
        } else {
            self.children.push(Node::Text(text.to_owned()));
        }
    }

    /// With a child element.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.push(child);
        self
    }

    /// With text.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.push_text(text);
        self
    }

    /// Keeps the child elements that `keep` says, and all text.
    pub fn retain_elements(&mut self, mut keep: impl FnMut(&Self) -> bool) {
        let children = std::mem::take(&mut self.children);
        for child in children {
            match child {
                Node::Text(text) => self.push_checked_text(&text),
                Node::Element(element) if keep(&element) => self.push(element),
                Node::Element(_) => {}
            }
        }
    }

    /// Takes all children out.
    pub fn take_children(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.children)
    }

    /// Appends nodes, joining text.
    pub fn extend(&mut self, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            match node {
                Node::Element(element) => self.push(element),
                Node::Text(text) => self.push_text(&text),
            }
        }
    }
}

impl Node {
    /// The element, if it is one.
    pub const fn as_element(&self) -> Option<&Element> {
        match self {
            Self::Element(element) => Some(element),
            Self::Text(_) => None,
        }
    }

    /// The text, if it is text.
    pub const fn as_text(&self) -> Option<&str> {
        match self {
            Self::Element(_) => None,
            Self::Text(text) => Some(text.as_str()),
        }
    }

    const fn is_leaf(&self) -> bool {
        match self {
            Self::Element(element) => element.children.is_empty(),
            Self::Text(_) => true,
        }
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        // A tree of two levels needs no list of its own; that is nearly every stanza.
        if self.children.iter().all(Node::is_leaf) {
            return;
        }
        let mut open = std::mem::take(&mut self.children);
        while let Some(node) = open.pop() {
            if let Node::Element(mut element) = node {
                open.append(&mut element.children);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_next_to_text_is_one_node() {
        let mut element = Element::new("a", Ns::NONE).with_text("x").with_text("y");
        element.push(Element::new("b", Ns::NONE));
        element.push_text("");
        element.push_text("z\u{0}");
        assert_eq!(element.children().len(), 3);
        assert_eq!(element.text(), "xyz");
        element.retain_elements(|_| false);
        assert_eq!(element.children(), [Node::Text("xyz".to_owned())]);
    }

    /// T10: a tree of 100,000 levels is freed on a stack of 64 KiB.
    #[test]
    fn drops_without_recursion() {
        let worker = std::thread::Builder::new().stack_size(64 * 1024);
        let freed = worker.spawn(|| {
            let mut tree = Element::new("a", Ns::NONE);
            for _ in 0..100_000 {
                tree = Element::new("a", Ns::NONE).with_child(tree);
            }
            drop(tree);
        });
        freed.unwrap().join().unwrap();
    }
}
