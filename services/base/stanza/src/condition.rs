//! The error conditions of RFC 6120 and the elements that carry them.

use smol_str::SmolStr;

use crate::element::Element;
use crate::ns;

macro_rules! conditions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $wire:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $wire, "`")] $variant,)*
        }

        impl $name {
            /// Every condition, for tables.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The element name on the wire; also a metric label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire,)*
                }
            }

            /// Reads the element name.
            pub fn from_wire(name: &str) -> Option<Self> {
                match name {
                    $($wire => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

conditions! {
    /// Why a stream ends (RFC 6120 4.9.3).
    StreamCondition {
        BadFormat = "bad-format",
        BadNamespacePrefix = "bad-namespace-prefix",
        Conflict = "conflict",
        ConnectionTimeout = "connection-timeout",
        HostGone = "host-gone",
        HostUnknown = "host-unknown",
        ImproperAddressing = "improper-addressing",
        InternalServerError = "internal-server-error",
        InvalidFrom = "invalid-from",
        InvalidNamespace = "invalid-namespace",
        InvalidXml = "invalid-xml",
        NotAuthorized = "not-authorized",
        NotWellFormed = "not-well-formed",
        PolicyViolation = "policy-violation",
        RemoteConnectionFailed = "remote-connection-failed",
        Reset = "reset",
        ResourceConstraint = "resource-constraint",
        RestrictedXml = "restricted-xml",
        SeeOtherHost = "see-other-host",
        SystemShutdown = "system-shutdown",
        UndefinedCondition = "undefined-condition",
        UnsupportedEncoding = "unsupported-encoding",
        UnsupportedFeature = "unsupported-feature",
        UnsupportedStanzaType = "unsupported-stanza-type",
        UnsupportedVersion = "unsupported-version",
    }
}

conditions! {
    /// Why a stanza was not handled (RFC 6120 8.3.3).
    StanzaCondition {
        BadRequest = "bad-request",
        Conflict = "conflict",
        FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden",
        Gone = "gone",
        InternalServerError = "internal-server-error",
        ItemNotFound = "item-not-found",
        JidMalformed = "jid-malformed",
        NotAcceptable = "not-acceptable",
        NotAllowed = "not-allowed",
        NotAuthorized = "not-authorized",
        PolicyViolation = "policy-violation",
        RecipientUnavailable = "recipient-unavailable",
        Redirect = "redirect",
        RegistrationRequired = "registration-required",
        RemoteServerNotFound = "remote-server-not-found",
        RemoteServerTimeout = "remote-server-timeout",
        ResourceConstraint = "resource-constraint",
        ServiceUnavailable = "service-unavailable",
        SubscriptionRequired = "subscription-required",
        UndefinedCondition = "undefined-condition",
        UnexpectedRequest = "unexpected-request",
    }
}

conditions! {
    /// What the sender may do about a stanza error (RFC 6120 8.3.2).
    ErrorType {
        Auth = "auth",
        Cancel = "cancel",
        Continue = "continue",
        Modify = "modify",
        Wait = "wait",
    }
}

impl StreamCondition {
    /// Builds `<stream:error/>` with an optional fixed text.
    pub fn to_element(self, text: Option<&str>) -> Element {
        let mut error = Element::new("error", ns::STREAMS)
            .with_child(Element::new(self.as_str(), ns::STREAM_ERRORS));
        if let Some(text) = text {
            error.push(
                Element::new("text", ns::STREAM_ERRORS)
                    .with_attribute_in(ns::XML, "lang", "en")
                    .with_text(text),
            );
        }
        error
    }

    /// Reads `<stream:error/>`; unknown conditions are `undefined-condition`.
    pub fn from_element(error: &Element) -> Option<Self> {
        if !error.is("error", &ns::STREAMS) {
            return None;
        }
        let named = error
            .elements()
            .filter(|child| child.ns() == &ns::STREAM_ERRORS && child.name() != "text")
            .find_map(|child| Self::from_wire(child.name()));
        Some(named.unwrap_or(Self::UndefinedCondition))
    }
}

impl StanzaCondition {
    /// The type that RFC 6120 8.3.3 recommends with the condition.
    pub const fn usual_type(self) -> ErrorType {
        match self {
            Self::BadRequest | Self::JidMalformed | Self::NotAcceptable => ErrorType::Modify,
            Self::PolicyViolation | Self::Redirect => ErrorType::Modify,
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorType::Auth,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
            _ => ErrorType::Cancel,
        }
    }
}

/// An error in answer to a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    /// What the sender may do.
    pub type_: ErrorType,
    /// What happened.
    pub condition: StanzaCondition,
    /// A fixed text for a person.
    pub text: Option<SmolStr>,
    /// One element of an application's own, beside the condition.
    pub detail: Option<Element>,
}

impl StanzaError {
    /// An error of the condition's usual type, without text.
    pub const fn new(condition: StanzaCondition) -> Self {
        Self {
            type_: condition.usual_type(),
            condition,
            text: None,
            detail: None,
        }
    }

    /// With another type.
    #[must_use]
    pub const fn with_type(mut self, type_: ErrorType) -> Self {
        self.type_ = type_;
        self
    }

    /// With a fixed text.
    #[must_use]
    pub fn with_text(mut self, text: &'static str) -> Self {
        self.text = Some(SmolStr::new_static(text));
        self
    }

    /// With an element of our own.
    #[must_use]
    pub fn with_detail(mut self, detail: Element) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Builds the `<error/>` child.
    pub fn to_element(&self) -> Element {
        let mut error = Element::new("error", ns::CLIENT)
            .with_attribute("type", self.type_.as_str())
            .with_child(Element::new(self.condition.as_str(), ns::STANZA_ERRORS));
        if let Some(text) = &self.text {
            error.push(Element::new("text", ns::STANZA_ERRORS).with_text(text));
        }
        if let Some(detail) = &self.detail {
            error.push(detail.clone());
        }
        error
    }

    /// Reads an `<error/>` child; what is unknown becomes `undefined-condition`.
    pub fn from_element(error: &Element) -> Option<Self> {
        if !error.is("error", &ns::CLIENT) {
            return None;
        }
        let mut read = Self::new(StanzaCondition::UndefinedCondition);
        for child in error.elements() {
            if child.is("text", &ns::STANZA_ERRORS) {
                read.text = Some(SmolStr::from(child.text()));
            } else if child.ns() == &ns::STANZA_ERRORS {
                read.condition = StanzaCondition::from_wire(child.name())
                    .unwrap_or(StanzaCondition::UndefinedCondition);
            } else {
                read.detail.get_or_insert_with(|| child.clone());
            }
        }
        let given = error.attribute("type").and_then(ErrorType::from_wire);
        read.type_ = given.unwrap_or(read.condition.usual_type());
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_survives_its_element() {
        for condition in StreamCondition::ALL {
            let element = condition.to_element(Some("because"));
            assert_eq!(StreamCondition::from_element(&element), Some(*condition));
        }
        for condition in StanzaCondition::ALL {
            let error = StanzaError::new(*condition).with_text("because");
            assert_eq!(StanzaError::from_element(&error.to_element()), Some(error));
        }
    }

    #[test]
    fn unknown_conditions_are_undefined() {
        let odd = Element::new("error", ns::CLIENT)
            .with_child(Element::new("from-the-future", ns::STANZA_ERRORS));
        let read = StanzaError::from_element(&odd).unwrap();
        assert_eq!(read.condition, StanzaCondition::UndefinedCondition);
        assert_eq!(
            StanzaError::from_element(&Element::new("other", ns::CLIENT)),
            None
        );
    }
}
