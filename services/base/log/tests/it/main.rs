//! The embedded logs against the port's suite, faulty disks and a plain model.

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod model;
#[cfg(test)]
mod recovery;
