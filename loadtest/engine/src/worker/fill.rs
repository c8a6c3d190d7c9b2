//! Puts what a device has to say onto its line, as bytes.

use entente_history::{Devack, Digest, Event, Id, Invoke};
use ring::digest::{SHA256, digest};

use crate::device::{Device, Out};
use crate::tally::Count;
use crate::wire::Line;
use crate::xml::write_number;

use super::Worker;

/// A request for an acknowledgement (XEP-0198).
const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

impl Worker {
    /// Queues bytes on the line: an answer to the server's request, what is not written yet, and one
    /// request for all of it. True if anything was queued.
    pub(super) fn fill(&self, me: usize, line: &mut Line) -> bool {
        let Some(device) = self.device(me) else {
            return false;
        };
        let mut device = device.borrow_mut();
        let mut any = self.answer(&mut device, line);
        let mut request = false;
        while device.written < device.queue.len() && line.has_room() {
            let Some(out) = device.queue.get(device.written).cloned() else {
                break;
            };
            let mut text = self.text.borrow_mut();
            text.clear();
            self.write(&mut device, &out, line.is_websocket(), &mut text);
            line.queue(&text);
            if self.how.manage {
                device.written += 1;
            } else {
                device.queue.pop_front();
                self.unmanaged(&mut device, &out);
            }
            (any, request) = (true, self.how.manage);
        }
        if request {
            line.queue(REQUEST);
        }
        if std::mem::take(&mut device.keep_alive) && !any {
            line.keep_alive();
            any = true;
        }
        any
    }

    /// Acknowledges all that came, without being asked.
    pub(super) fn last_answer(&self, me: usize, line: &mut Line) {
        if let (true, Some(device)) = (self.how.manage, self.device(me)) {
            let mut device = device.borrow_mut();
            device.asked = true;
            self.answer(&mut device, line);
        }
    }

    fn answer(&self, device: &mut Device, line: &mut Line) -> bool {
        if !std::mem::take(&mut device.asked) {
            return false;
        }
        if let Some(history) = &self.common.history {
            history.record(&Event::Devack(Devack {
                device: device.number,
                epoch: device.epoch,
                count: device.here,
            }));
        }
        let mut text = self.text.borrow_mut();
        text.clear();
        text.extend_from_slice(b"<a xmlns='urn:xmpp:sm:3' h='");
        write_number(device.handled.into(), &mut text);
        text.extend_from_slice(b"'/>");
        line.queue(&text);
        true
    }

    /// Without XEP-0198 nobody will say that it was taken.
    fn unmanaged(&self, device: &mut Device, out: &Out) {
        if let Out::Message(n) = out {
            device.acknowledge(*n);
            if device.is_over(*n) {
                self.moved(false);
                device.forget();
            }
        }
    }

    pub(super) fn write(
        &self,
        device: &mut Device,
        out: &Out,
        websocket: bool,
        text: &mut Vec<u8>,
    ) {
        // RFC 7395 3.3.3: each message stands for itself.
        let space: &[u8] = if websocket {
            b" xmlns='jabber:client'"
        } else {
            b""
        };
        match out {
            Out::Answer(bytes) => text.extend_from_slice(bytes),
            Out::Ask { target, n } => {
                if let Some(history) = &self.common.history {
                    device.asked(*n, history.now());
                }
                text.extend_from_slice(b"<iq");
                text.extend_from_slice(space);
                text.extend_from_slice(b" type='get' id='k");
                write_number((*n).into(), text);
                text.extend_from_slice(b"'><bundle xmlns='urn:entente:keys:0' jid='");
                text.extend_from_slice(self.address(*target));
                text.extend_from_slice(b"'/></iq>");
            }
            Out::Message(n) => self.write_message(device, *n, space, text),
            Out::Presence => {
                text.extend_from_slice(b"<presence");
                text.extend_from_slice(space);
                text.extend_from_slice(b"/>");
            }
            Out::Receipt { to, n, at, wrote } => {
                self.start_message(*to, space, text);
                text.extend_from_slice(b" id='");
                text.extend_from_slice(self.common.tag.as_bytes());
                for part in [
                    u64::from(device.number),
                    self.number(*to).into(),
                    (*n).into(),
                    *at,
                    *wrote,
                ] {
                    text.push(b'.');
                    write_number(part, text);
                }
                text.extend_from_slice(b"'><received xmlns='urn:xmpp:receipts' id='");
                self.write_id(self.number(*to), *n, text);
                text.extend_from_slice(b"'/></message>");
            }
            Out::Typing(peer) => {
                let to = device
                    .peers
                    .get(usize::from(*peer))
                    .map_or(0, |peer| peer.to);
                self.start_message(to, space, text);
                text.extend_from_slice(
                    b"><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
                );
            }
            Out::Upload(count) => self.write_upload(*count, space, text),
        }
    }

    fn write_message(&self, device: &mut Device, n: u32, space: &[u8], text: &mut Vec<u8>) {
        let now = self.now();
        let (number, stage) = (device.number, self.stage());
        let Some((open, to)) = device.message(n) else {
            return;
        };
        let asks = open.asks;
        if open.wrote == 0 {
            open.wrote = now;
            self.tally.borrow_mut().count(stage, Count::Sent);
        }
        self.start_message(to, space, text);
        text.extend_from_slice(b" id='");
        self.write_id(number, n, text);
        text.extend_from_slice(b"'>");
        let (to, start) = (self.number(to), text.len());
        if device.sealer.is_some() {
            self.write_sealed(device, n, to, text);
        } else {
            text.extend_from_slice(b"<body>");
            self.common.payloads.write(number, n, text);
            text.extend_from_slice(b"</body>");
        }
        if let Some(history) = &self.common.history {
            history.record(&Event::Invoke(Invoke {
                from: number,
                to,
                id: Id::own(number, n.into()),
                n: n.into(),
                digest: hash(self.travels(text.get(start..).unwrap_or_default())),
                quiet: false,
            }));
        }
        if asks {
            text.extend_from_slice(b"<request xmlns='urn:entente:0'/>");
        }
        text.extend_from_slice(b"</message>");
    }

    fn start_message(&self, to: u32, space: &[u8], text: &mut Vec<u8>) {
        text.extend_from_slice(b"<message");
        text.extend_from_slice(space);
        text.extend_from_slice(b" type='chat' to='");
        text.extend_from_slice(self.address(to));
        text.push(b'\'');
    }

    /// `tag.sender.n`.
    fn write_id(&self, sender: u32, n: u32, text: &mut Vec<u8>) {
        text.extend_from_slice(self.common.tag.as_bytes());
        text.push(b'.');
        write_number(sender.into(), text);
        text.push(b'.');
        write_number(n.into(), text);
    }

    /// One-time keys as random curve points; nobody opens sessions with them.
    fn write_upload(&self, count: u32, space: &[u8], text: &mut Vec<u8>) {
        text.extend_from_slice(b"<iq");
        text.extend_from_slice(space);
        text.extend_from_slice(b" type='set' id='u'><prekeys xmlns='urn:entente:keys:0'>");
        for id in 1..=count {
            let key = entente_keys::test::SigningKey::new(entente_core::random_array()).public();
            let Ok(key) = key else { continue };
            text.extend_from_slice(b"<one-time id='");
            write_number(id.into(), text);
            text.extend_from_slice(b"'>");
            let key =
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.bytes());
            text.extend_from_slice(key.as_bytes());
            text.extend_from_slice(b"</one-time>");
        }
        text.extend_from_slice(b"</prekeys></iq>");
    }

    pub(super) fn address(&self, index: u32) -> &[u8] {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.addresses
            .get(index)
            .map(AsRef::as_ref)
            .unwrap_or_default()
    }

    pub(super) const fn number(&self, index: u32) -> u32 {
        self.first.wrapping_add(index)
    }
}

/// The digest of a body as histories have it.
pub(super) fn hash(body: &[u8]) -> Digest {
    let hash = digest(&SHA256, body);
    let first = hash
        .as_ref()
        .first_chunk::<8>()
        .copied()
        .unwrap_or_default();
    Digest(u64::from_be_bytes(first))
}
