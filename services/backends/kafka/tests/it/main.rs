//! The log against real brokers, where there are some.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod disk;
#[cfg(feature = "tls")]
#[cfg(test)]
mod doors;
#[cfg(test)]
mod group;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod places;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod topics;
