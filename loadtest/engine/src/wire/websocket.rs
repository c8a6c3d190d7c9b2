//! The framing of WebSocket messages (RFC 6455), as much of it as RFC 7395 needs of a client.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use entente_core::random_array;

use super::error::LineError;

/// Longest message that is taken: a stanza of the framer's limit.
const MAX_MESSAGE: usize = 256 * 1024;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Messages in and out.
pub(super) struct WebSocket {
    buffer: BytesMut,
    part: BytesMut,
    mask: u32,
}

impl WebSocket {
    /// After the handshake, with what came behind it.
    pub(super) fn new(buffer: BytesMut) -> Self {
        Self {
            buffer,
            part: BytesMut::new(),
            mask: u32::from_be_bytes(random_array()) | 1,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends an element as one text message.
    pub(super) fn wrap(&mut self, element: &[u8], out: &mut BytesMut) {
        self.frame(TEXT, element, out);
    }

    pub(super) fn ping(&mut self, out: &mut BytesMut) {
        self.frame(PING, b"", out);
    }

    fn frame(&mut self, kind: u8, payload: &[u8], out: &mut BytesMut) {
        // xorshift: RFC 6455 5.3 wants masks that scripts in a browser cannot choose; there are none.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        let mask = self.mask.to_be_bytes();
        out.reserve(payload.len() + 14);
        out.put_u8(FINAL | kind);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < 126 => out.put_u8(MASKED | short),
            (_, Ok(medium)) => {
                out.put_u8(MASKED | 126);
                out.put_u16(medium);
            }
            _ => {
                out.put_u8(MASKED | 127);
                out.put_u64(u64::try_from(payload.len()).unwrap_or(u64::MAX));
            }
        }
        out.extend_from_slice(&mask);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    }

    /// The next whole message; pings are answered into `out`.
    pub(super) fn next(&mut self, out: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
        loop {
            let Some((first, payload)) = self.cut()? else {
                return Ok(None);
            };
            match first & 0x0f {
                TEXT if first & FINAL != 0 => return Ok(Some(payload)),
                TEXT | CONTINUATION => {
                    if self.part.len() + payload.len() > MAX_MESSAGE {
                        return Err(LineError::WebSocket("a message over the limit"));
                    }
                    self.part.extend_from_slice(&payload);
                    if first & FINAL != 0 {
                        return Ok(Some(std::mem::take(&mut self.part).freeze()));
                    }
                }
                PING => self.frame(PONG, &payload, out),
                PONG => {}
                CLOSE => return Err(LineError::Closed),
                _ => return Err(LineError::WebSocket("an unknown kind of frame")),
            }
        }
    }

    /// One frame: its first byte and its payload.
    fn cut(&mut self) -> Result<Option<(u8, Bytes)>, LineError> {
        let mut head = &self.buffer[..];
        if head.len() < 2 {
            return Ok(None);
        }
        let (first, second) = (head.get_u8(), head.get_u8());
        if second & MASKED != 0 || first & 0x70 != 0 {
            return Err(LineError::WebSocket(
                "a masked or extended frame of a server",
            ));
        }
        let (length, header) = match second {
            126 if head.len() < 2 => return Ok(None),
            127 if head.len() < 8 => return Ok(None),
            126 => (u64::from(head.get_u16()), 4),
            127 => (head.get_u64(), 10),
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(LineError::WebSocket("a frame over the limit"));
        }
        if head.len() < length {
            return Ok(None);
        }
        self.buffer.advance(header);
        Ok(Some((first, self.buffer.split_to(length).freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server sends: no mask.
    fn served(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            medium => {
                bytes.push(126);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let long = vec![b'x'; 300];
        let mut bytes = served(FINAL | TEXT, b"<a/>");
        bytes.extend(served(FINAL | PING, b"hi"));
        bytes.extend(served(TEXT, b"<b"));
        bytes.extend(served(FINAL | CONTINUATION, b"/>"));
        bytes.extend(served(FINAL | TEXT, &long));
        for step in [1, 2, 7, bytes.len()] {
            let (mut socket, mut out) = (WebSocket::new(BytesMut::new()), BytesMut::new());
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                socket.push(chunk);
                while let Some(message) = socket.next(&mut out).unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [&b"<a/>"[..], b"<b/>", &long]);
            assert_eq!(out.len(), 2 + 4 + 2, "one pong");
        }
    }

    #[test]
    fn what_a_client_writes_is_masked_and_reads_back() {
        let mut socket = WebSocket::new(BytesMut::new());
        for length in [0_usize, 5, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let mut out = BytesMut::new();
            socket.wrap(&payload, &mut out);
            let header = out.len() - length;
            let mask = &out[header - 4..header];
            assert!(out[1] & MASKED != 0 && mask != [0; 4]);
            let read: Vec<u8> = out[header..]
                .iter()
                .zip(mask.iter().cycle())
                .map(|(a, b)| a ^ b)
                .collect();
            assert_eq!(read, payload);
        }
    }

    #[test]
    fn frames_that_a_server_must_not_send_end_the_line() {
        for bytes in [
            &[FINAL | TEXT, MASKED | 1, 0, 0, 0, 0, b'x'][..],
            &[FINAL | 0x40 | TEXT, 1, b'x'],
            &[FINAL | TEXT, 127, 0, 0, 0, 0, 0xff, 0, 0, 0],
            &[FINAL | 3, 0],
        ] {
            let mut socket = WebSocket::new(BytesMut::from(bytes));
            assert!(matches!(
                socket.next(&mut BytesMut::new()),
                Err(LineError::WebSocket(_))
            ));
        }
    }
}
