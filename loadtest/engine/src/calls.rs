//! Wake-ups: what the push endpoints of the built-in partners saw, for the history.
//!
//! In: devices whose accounts are those of partners that run here. Out: one `push` event for each call
//! of an endpoint, recorded before the call is answered. Nothing here judges; rule R12 does.
//!
//! **Invariants**
//! - A call is recorded only if the endpoint behaves. One that hangs or refuses, as the scenario may
//!   have it, promises no wake-up in time, so that its devices are declared without an endpoint.
//! - A call for nobody of this run is a note: a gateway that runs on may have users of earlier runs.

use std::collections::HashMap;
use std::sync::Arc;

use entente_history::{Event, Note, Recorder};
use entente_kit::partner::{PUSH_PATH, Partner, PushCall, PushRefusal};
use parking_lot::Mutex;

use crate::account::Secret;
use crate::device::Device;
use crate::scenario::{Push, Scenario};

/// Wake-ups whose attempts are counted, some 80 bytes each; of later ones each call counts as a first.
const MAX_COUNTED: usize = 1_000_000;

/// The endpoints that are being watched. Dropped, they are left alone again.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    partners: Vec<Arc<Partner>>,
}

/// Where a device is woken, if that is known and counts.
pub(crate) fn endpoint(scenario: &Scenario, device: &Device) -> Option<String> {
    match &device.account.secret {
        Secret::Token(partner, _) if scenario.target.push == Push::Ok => Some(door(partner)),
        Secret::Password(_) | Secret::Token(..) => None,
    }
}

fn door(partner: &Partner) -> String {
    format!("{}{PUSH_PATH}", partner.own_url())
}

impl Calls {
    /// Has the endpoints of all devices' partners tell a history of their calls.
    pub(crate) fn watch<'a>(
        scenario: &Scenario,
        devices: impl Iterator<Item = &'a Device>,
        history: &Recorder,
    ) -> Self {
        if scenario.target.push != Push::Ok {
            return Self::default();
        }
        let mut partners: Vec<Arc<Partner>> = Vec::new();
        let mut numbers = HashMap::new();
        for device in devices {
            let Secret::Token(partner, visible) = &device.account.secret else {
                continue;
            };
            numbers.insert(visible.to_string(), device.number);
            if !partners.iter().any(|known| Arc::ptr_eq(known, partner)) {
                partners.push(Arc::clone(partner));
            }
        }
        let numbers = Arc::new(numbers);
        for partner in &partners {
            let desk = Desk {
                endpoint: door(partner),
                numbers: Arc::clone(&numbers),
                history: history.clone(),
                attempts: Mutex::default(),
            };
            let witness = move |call: &PushCall| desk.record(call);
            partner.push().set_witness(Some(Arc::new(witness)));
        }
        Self { partners }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for partner in &self.partners {
            partner.push().set_witness(None);
        }
    }
}

/// What one endpoint needs to tell a history of its calls.
struct Desk {
    endpoint: String,
    /// Devices by visible id.
    numbers: Arc<HashMap<String, u32>>,
    history: Recorder,
    /// How often each wake-up was sent.
    attempts: Mutex<HashMap<Box<str>, u32>>,
}

impl Desk {
    fn record(&self, call: &PushCall) {
        self.history.record(&self.event(call));
    }

    fn event(&self, call: &PushCall) -> Event {
        let note = |text: &str| {
            Event::Note(Note {
                text: format!("{}: {text}", self.endpoint),
            })
        };
        let number = call.to.as_ref().and_then(|to| self.numbers.get(to));
        let Some(&to) = number else {
            return note("a call for nobody of this run");
        };
        let (wake, sig_ok) = match &call.verified {
            Ok(wake) => (wake.as_str(), true),
            Err(PushRefusal::Token) => ("", false),
            // Neither good nor bad: nobody can tell, and the gateway calls again.
            Err(refusal @ (PushRefusal::Body | PushRefusal::Key)) => {
                return note(&format!("a call was refused: {refusal}"));
            }
        };
        Event::Push(entente_history::Push {
            endpoint: self.endpoint.clone(),
            to,
            attempt: if sig_ok { self.attempt(wake) } else { 1 },
            // What is not signed has no id that could be believed.
            wake: if sig_ok {
                wake.to_owned()
            } else {
                format!("unsigned-{to}")
            },
            sig_ok,
        })
    }

    fn attempt(&self, wake: &str) -> u32 {
        let mut attempts = self.attempts.lock();
        if let Some(count) = attempts.get_mut(wake) {
            *count = count.saturating_add(1);
            return *count;
        }
        if attempts.len() < MAX_COUNTED {
            attempts.insert(wake.into(), 1);
        }
        1
    }
}
