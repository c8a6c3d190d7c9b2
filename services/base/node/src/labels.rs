//! Labels of metrics, of which only closed sets can be made.
//!
//! A label value is a word of the program, a partner or a shard. There is no way to make one from
//! text that a peer sent, so no series can name a user, and the number of series is bounded.

use std::fmt;
use std::hash::Hash;

use entente_core::{FaultKind, PartnerId, ShardId};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// One dimension of a metric, usually an enum.
pub trait Label: Clone + fmt::Debug + Eq + Hash + Send + Sync + 'static {
    /// The name of the dimension, in snake case.
    const NAME: &'static str;

    /// What the exposition shows.
    fn value(&self) -> LabelValue;
}

/// What may stand in a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelValue {
    /// A registered partner; a deployment has hundreds.
    Partner(PartnerId),
    /// A shard; a deployment has hundreds.
    Shard(ShardId),
    /// A constant of the program.
    Word(&'static str),
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(partner) => partner.fmt(f),
            Self::Shard(shard) => shard.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Label for FaultKind {
    const NAME: &'static str = "kind";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.label())
    }
}

impl Label for PartnerId {
    const NAME: &'static str = "partner";

    fn value(&self) -> LabelValue {
        LabelValue::Partner(*self)
    }
}

impl Label for ShardId {
    const NAME: &'static str = "shard";

    fn value(&self) -> LabelValue {
        LabelValue::Shard(*self)
    }
}

/// All dimensions of a metric: `()`, or a tuple of one to three labels.
pub trait Labels: Clone + fmt::Debug + Eq + Hash + Send + Sync + 'static {
    /// Shows each dimension in order.
    ///
    /// # Errors
    /// Those of the visitor.
    fn visit(
        &self,
        visitor: &mut dyn FnMut(&'static str, LabelValue) -> fmt::Result,
    ) -> fmt::Result;
}

impl Labels for () {
    fn visit(&self, _: &mut dyn FnMut(&'static str, LabelValue) -> fmt::Result) -> fmt::Result {
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+)),+ $(,)?) => {$(
        impl<$($name: Label),+> Labels for ($($name,)+) {
            fn visit(
                &self,
                visitor: &mut dyn FnMut(&'static str, LabelValue) -> fmt::Result,
            ) -> fmt::Result {
                $(visitor($name::NAME, self.$place.value())?;)+
                Ok(())
            }
        }
    )+};
}

tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2));

/// A set of labels as the exposition library wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Encoded<L>(pub(crate) L);

impl<L: Labels> EncodeLabelSet for Encoded<L> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel;
        self.0
            .visit(&mut |name, value| (name, value.to_string()).encode(encoder.encode_label()))
    }
}
