//! The devices of a run: who they are, whose file tells of them, and where each stands while its
//! file is read.
//!
//! **Invariants**: one file tells what a device did; its connections are numbered upwards.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};

use super::record::{Delivery, Spot};
use crate::event::DeviceIs;
use crate::id::Device;

#[derive(Default)]
pub(super) struct Roster {
    devices: HashMap<Device, Known>,
    /// Deliveries that no acknowledgement covers yet.
    pub unacked: usize,
}

/// A device.
pub(super) struct Known {
    pub partner: u16,
    account: Box<str>,
    pub endpoint: Option<Box<str>>,
    /// The file whose declaration came first, and the time in it.
    declared: (u16, u64),
    /// The file that tells what it did.
    pub owner: Option<u16>,
    pub drained: Option<Spot>,
    pub node: Box<str>,
    pub live: bool,
    /// The connection, 0 before the first.
    pub epoch: u32,
    /// The lines at which its connections began, by number.
    pub began: Vec<(u32, u32)>,
    /// The newest `h` of the session.
    pub h: u64,
    /// The newest connection over which the gateway acknowledged something, and where.
    pub heard: (u32, Spot),
    /// The newest connection over which the device acknowledged something, and where.
    pub acked: (u32, Spot),
    pub streams: VecDeque<Stream>,
    /// Since when it is offline.
    pub offline: Option<u64>,
    /// Times it was offline and came back with a fresh session.
    pub absences: Vec<Absence>,
    /// It was called while offline this time.
    pub called: bool,
    /// It was called from an endpoint of another file: when, nobody knows.
    pub called_elsewhere: bool,
}

/// A time without a connection that a bind ended.
pub(super) struct Absence {
    pub since: u64,
    pub until: u64,
    /// The connection that ended it.
    pub epoch: u32,
    pub called: bool,
    /// Already counted as due.
    pub counted: bool,
}

/// Deliveries over one connection.
pub(super) struct Stream {
    pub epoch: u32,
    pub delivered: u64,
    pub acked: u64,
    pub unacked: VecDeque<(Spot, Delivery)>,
}

/// Older connections whose acknowledgements may still be recorded.
const STREAMS: usize = 4;

impl Roster {
    pub(super) fn new() -> Self {
        Self {
            devices: HashMap::new(),
            unacked: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.devices.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = (Device, &Known)> {
        self.devices.iter().map(|(device, known)| (*device, known))
    }

    pub(super) fn everyone(&mut self) -> impl Iterator<Item = &mut Known> {
        self.devices.values_mut()
    }

    pub(super) fn of(&self, device: Device) -> Option<&Known> {
        self.devices.get(&device)
    }

    pub(super) fn of_mut(&mut self, device: Device) -> Option<&mut Known> {
        self.devices.get_mut(&device)
    }

    pub(super) fn declare(&mut self, is: &DeviceIs, file: u16, at: u64) -> Result<(), String> {
        if let Some(known) = self.devices.get(&is.device) {
            let same = known.partner == is.partner
                && *known.account == *is.account
                && known.endpoint.as_deref() == is.endpoint.as_deref();
            let other = || format!("device {} is said to be somebody else elsewhere", is.device);
            return if same { Ok(()) } else { Err(other()) };
        }
        let known = Known {
            partner: is.partner,
            account: is.account.as_str().into(),
            endpoint: is.endpoint.as_deref().map(Into::into),
            declared: (file, at),
            owner: None,
            drained: None,
            node: "".into(),
            live: false,
            epoch: 0,
            began: Vec::new(),
            h: 0,
            heard: (0, Spot::default()),
            acked: (0, Spot::default()),
            streams: VecDeque::new(),
            offline: None,
            absences: Vec::new(),
            called: false,
            called_elsewhere: false,
        };
        self.devices.insert(is.device, known);
        Ok(())
    }

    /// A device does something in a file.
    pub(super) fn acts(&mut self, device: Device, file: u16) -> Result<&mut Known, String> {
        let Some(known) = self.devices.get_mut(&device) else {
            return Err(format!("device {device} was never declared"));
        };
        match known.owner {
            None => {
                known.owner = Some(file);
                // Known to the gateway from its declaration on, and not connected.
                let (there, at) = known.declared;
                known.offline = (there == file).then_some(at);
            }
            Some(owner) if owner != file => {
                return Err(format!(
                    "device {device} acts in another process's file too"
                ));
            }
            Some(_) => {}
        }
        Ok(known)
    }

    /// How people know it.
    pub(super) fn name(&self, device: Device) -> String {
        match self.devices.get(&device) {
            None => format!("device {device} (nobody of this run)"),
            Some(known) => format!(
                "device {device} ({}, partner {})",
                known.account, known.partner
            ),
        }
    }
}

impl Known {
    /// The file is that of its own events, as far as is known by now.
    pub(super) fn lives_in(&self, file: u16) -> bool {
        self.owner.unwrap_or(self.declared.0) == file
    }

    /// Begins a connection; gives the deliveries back that can no longer be acknowledged.
    pub(super) fn begin(
        &mut self,
        epoch: u32,
        line: u32,
        node: &str,
    ) -> Result<Vec<(Spot, Delivery)>, String> {
        if epoch <= self.epoch {
            let newest = self.epoch;
            return Err(format!(
                "connection {epoch} begins after connection {newest}"
            ));
        }
        self.epoch = epoch;
        self.live = true;
        self.began.push((epoch, line));
        if *self.node != *node {
            self.node = node.into();
        }
        self.streams.push_back(Stream {
            epoch,
            delivered: 0,
            acked: 0,
            unacked: VecDeque::new(),
        });
        let old = if self.streams.len() > STREAMS {
            self.streams.pop_front()
        } else {
            None
        };
        Ok(old.map(|old| old.unacked.into()).unwrap_or_default())
    }

    pub(super) fn stream(&mut self, epoch: u32) -> Option<&mut Stream> {
        self.streams
            .iter_mut()
            .rev()
            .find(|stream| stream.epoch == epoch)
    }

    /// The line at which a connection began.
    pub(super) fn began(&self, epoch: u32) -> Option<u32> {
        let at = self
            .began
            .binary_search_by_key(&epoch, |(epoch, _)| *epoch)
            .ok()?;
        self.began.get(at).map(|(_, line)| *line)
    }

    /// A fresh session ends the time without one.
    pub(super) fn back(&mut self, at: u64) {
        let called = std::mem::take(&mut self.called);
        let Some(since) = self.offline.take() else {
            return;
        };
        if self.endpoint.is_some() {
            self.absences.push(Absence {
                since,
                until: at,
                epoch: self.epoch,
                called,
                counted: false,
            });
        }
    }

    /// A good call for it came in its own file.
    pub(super) fn called_here(&mut self) {
        match self.absences.last_mut() {
            Some(absence) if self.live => absence.called = true,
            _ => self.called = true,
        }
    }

    /// The absence that the session of a connection ended, with its place.
    pub(super) fn absence(&self, epoch: u32) -> Option<(usize, &Absence)> {
        let after = self
            .absences
            .partition_point(|absence| absence.epoch <= epoch);
        let at = after.checked_sub(1)?;
        Some((at, self.absences.get(at)?))
    }
}
