//! The embedded logs against the port's suite, faulty disks and a plain model.

mod conformance;
