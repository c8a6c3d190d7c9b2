//! Who writes to whom: the devices of each thread.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};

use crate::account::Account;
use crate::device::{Device, Peer};
use crate::scenario::{Pattern, Scenario};
use crate::seal::{SealError, Sealing};
use crate::worker::Part;

/// Device numbers of one generator: more than one has users.
const NUMBERS: u32 = 1 << 20;

/// Divides accounts over threads and gives each whom it writes to.
pub(crate) fn parts(
    scenario: &Scenario,
    accounts: Vec<Account>,
    seed: u64,
    tls: &Arc<rustls::ClientConfig>,
) -> Vec<Part> {
    let cores = &scenario.run.cores;
    let total = accounts.len();
    let mut accounts = accounts.into_iter();
    let mut first = u32::from(scenario.run.part) * NUMBERS;
    let noisy = scenario
        .noisy
        .as_ref()
        .map(|_| scenario.target.partner_number);
    let mut parts = Vec::with_capacity(cores.len());
    for (index, &core) in cores.iter().enumerate() {
        // Even, so that pairs stay whole.
        let even = |index: usize| (total * index / cores.len()) & !1;
        let share = even(index + 1) - even(index);
        let last = index + 1 == cores.len();
        let own: Vec<Account> = accounts
            .by_ref()
            .take(if last { total } else { share })
            .collect();
        let mut random = SmallRng::seed_from_u64(seed.rotate_left(17) ^ u64::from(first));
        let count = own.len();
        let mut part = Part {
            index,
            core,
            first,
            share: ratio(count, total),
            senders: Vec::new(),
            receivers: Vec::new(),
            devices: Vec::with_capacity(count),
            noisy,
            tls: Arc::clone(tls),
        };
        for (at, account) in own.into_iter().enumerate() {
            let to = peers(scenario, at, count, &mut random);
            if !to.is_empty() {
                part.senders.push(at);
            }
            part.devices.push(Device::new(first, account, to));
            first = first.wrapping_add(1);
        }
        receivers(scenario, &mut part, &mut random);
        parts.push(part);
    }
    parts
}

/// Gives each device its half of a cipher, with a session for each pair that will talk.
///
/// # Errors
/// As the cipher says.
pub(crate) fn seal(parts: &mut [Part], sealing: &dyn Sealing) -> Result<(), SealError> {
    let users: Vec<u32> = parts
        .iter()
        .flat_map(|part| part.devices.iter().map(|device| device.number))
        .collect();
    let mut pairs = Vec::new();
    for part in &*parts {
        for device in &part.devices {
            let numbers = device
                .peers
                .iter()
                .map(|peer| part.first.wrapping_add(peer.to));
            pairs.extend(numbers.map(|to| (device.number, to)));
        }
    }
    let mut sealers = sealing.sealers(&users, &pairs)?.into_iter();
    for device in parts.iter_mut().flat_map(|part| &mut part.devices) {
        device.sealer = sealers.next();
    }
    Ok(())
}

fn peers(scenario: &Scenario, at: usize, count: usize, random: &mut SmallRng) -> Vec<Peer> {
    let load = &scenario.load;
    let peer = |to: usize| Peer::new(u32::try_from(to).unwrap_or(u32::MAX));
    match load.pattern {
        Pattern::None => Vec::new(),
        Pattern::Pairs if at.is_multiple_of(2) && at + 1 < count => vec![peer(at + 1)],
        Pattern::Pairs => Vec::new(),
        Pattern::FanIn if at < load.hubs => Vec::new(),
        Pattern::FanIn => vec![peer(at % load.hubs.max(1))],
        Pattern::FanOut if at >= load.hubs => Vec::new(),
        Pattern::FanOut => {
            // Each hub begins elsewhere, or all would write to the same one at once.
            let mut to: Vec<usize> = (load.hubs..count).collect();
            let turn = to.len() * at / load.hubs.max(1);
            to.rotate_left(turn);
            to.into_iter().map(peer).collect()
        }
        Pattern::Any => {
            let contacts = load.contacts.min(count.saturating_sub(1));
            let others = sample(random, count.saturating_sub(1), contacts);
            let not_me = |other| if other >= at { other + 1 } else { other };
            others.into_iter().map(not_me).map(peer).collect()
        }
    }
}

fn receivers(scenario: &Scenario, part: &mut Part, random: &mut SmallRng) {
    let mut is_written_to = vec![false; part.devices.len()];
    for device in &part.devices {
        for peer in &device.peers {
            let index = usize::try_from(peer.to).unwrap_or(usize::MAX);
            if let Some(flag) = is_written_to.get_mut(index) {
                *flag = true;
            }
        }
    }
    let share = scenario.slow.as_ref().map_or(0.0, |slow| slow.share);
    for (index, device) in part.devices.iter_mut().enumerate() {
        if is_written_to.get(index) == Some(&true) {
            part.receivers.push(index);
            device.slow = share > 0.0 && random.random_bool(share);
        }
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    let float = |count: usize| u32::try_from(count).map_or(0.0, f64::from);
    if whole == 0 {
        0.0
    } else {
        float(part) / float(whole)
    }
}
