//! A small XMPP server on a thread of its own: TLS, any password, stanzas handed on in memory. It
//! can stall, refuse, change bytes, and die; and it costs so little that the generator shows.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use entente_engine::xml::{Kind, attribute, kind};
use entente_kit::trust::DevAuthority;
use entente_stanza::{Frame, Framer, Limits};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) const DOMAIN: &str = "stub.test";

/// What it does besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Stops everything once for this long, so long after its first message.
    pub(crate) stall: Option<(Duration, Duration)>,
    /// Refuses every login.
    pub(crate) refuse: bool,
    /// Ends, with all connections, so long after its first message.
    pub(crate) die: Option<Duration>,
    /// Changes a byte in each so many messages.
    pub(crate) corrupt: Option<u64>,
    /// Does not deliver each so many messages.
    pub(crate) lose: Option<u64>,
    /// Delivers each so many messages twice.
    pub(crate) double: Option<u64>,
    /// Gives delivered receipts at once, whatever the recipient's device acknowledged.
    pub(crate) hasty: bool,
    /// Gives each delivered receipt twice.
    pub(crate) repeat: bool,
    /// Sends bytes that are no stream instead of features.
    pub(crate) garbage: bool,
    /// Listens on `[::1]`.
    pub(crate) v6: bool,
    /// The thread's core.
    pub(crate) core: Option<usize>,
}

/// What it was sent, beside messages that it handed on.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Messages over connections whose user was back over a newer one.
    pub(crate) late: AtomicU64,
    /// Prekeys that were uploaded.
    pub(crate) prekeys: AtomicU64,
}

/// A running server; it ends when this is dropped.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    /// The PEM of its authority.
    pub(crate) authority: String,
    /// Users for whom something waits while they are away, once for each time; ends with the server.
    pub(crate) missed: Option<mpsc::Receiver<String>>,
    pub(crate) seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    pub(crate) fn start(habits: Habits) -> Self {
        let authority = DevAuthority::new().unwrap();
        let tls = authority
            .server_config(&[DOMAIN], &["xmpp-client"])
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let (miss, missed) = mpsc::channel();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            if let Some(core) = habits.core {
                entente_engine::limits::pin(core);
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let host: IpAddr = if habits.v6 {
                    Ipv6Addr::LOCALHOST.into()
                } else {
                    Ipv4Addr::LOCALHOST.into()
                };
                let listener = TcpListener::bind((host, 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, tls.into(), habits, miss, counted) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: told.recv().unwrap(),
            authority: authority.pem().to_owned(),
            missed: Some(missed),
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What is to be written to one user, and who writes it.
#[derive(Default)]
struct Mailbox {
    out: BytesMut,
    unasked: bool,
    /// Its connection is over, and what comes waits.
    gone: bool,
    waits: BytesMut,
    /// Messages that were put in since counting began.
    count: u32,
    /// Receipts to give when the device acknowledged so many: to whom, for which id.
    owed: VecDeque<(u32, Vec<u8>, Vec<u8>)>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// The connection is over; what was on its way is lost.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.count = 0;
            self.owed.clear();
        }
    }
}

struct House {
    habits: Habits,
    users: RefCell<HashMap<Vec<u8>, Rc<RefCell<Mailbox>>>>,
    messages: RefCell<u64>,
    seen: Arc<Seen>,
    begun: tokio::sync::Notify,
    missed: mpsc::Sender<String>,
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    habits: Habits,
    missed: mpsc::Sender<String>,
    seen: Arc<Seen>,
) {
    let house = Rc::new(House {
        missed,
        habits,
        users: RefCell::default(),
        messages: RefCell::default(),
        seen,
        begun: tokio::sync::Notify::new(),
    });
    let mut guests = JoinSet::new();
    if let Some((after, span)) = habits.stall {
        let house = Rc::clone(&house);
        guests.spawn_local(async move {
            house.begun.notified().await;
            tokio::time::sleep(after).await;
            std::thread::sleep(span);
        });
    }
    let death = async {
        match habits.die {
            Some(after) => {
                house.begun.notified().await;
                tokio::time::sleep(after).await;
            }
            None => std::future::pending().await,
        }
    };
    let accept = async {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            while guests.try_join_next().is_some() {}
            guests.spawn_local(guest(Rc::clone(&house), tls.clone(), socket));
        }
    };
    tokio::select! { () = accept => {}, () = death => {} }
}

struct Guest {
    house: Rc<House>,
    tls: TlsStream<TcpStream>,
    framer: Framer,
    mailbox: Rc<RefCell<Mailbox>>,
    user: Vec<u8>,
    authenticated: bool,
    handled: u32,
    waited: BytesMut,
    room: Box<[u8]>,
    over: bool,
}

async fn guest(house: Rc<House>, tls: TlsAcceptor, socket: TcpStream) {
    let Ok(tls) = tls.accept(socket).await else {
        return;
    };
    let mut guest = Guest {
        house,
        tls,
        framer: Framer::new(Limits::AFTER_AUTH),
        mailbox: Rc::default(),
        user: Vec::new(),
        authenticated: false,
        handled: 0,
        waited: BytesMut::new(),
        room: vec![0; 16 * 1024].into(),
        over: false,
    };
    poll_fn(|cx| {
        loop {
            let mut room = ReadBuf::new(&mut guest.room);
            match Pin::new(&mut guest.tls).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
            let read = room.filled().to_vec();
            guest.framer.push(&read);
            loop {
                match guest.framer.next_frame() {
                    Ok(Some(frame)) => guest.take(&frame),
                    Ok(None) => break,
                    Err(_) => return Poll::Ready(()),
                }
            }
        }
        let mailbox = Rc::clone(&guest.mailbox);
        let mut mailbox = mailbox.borrow_mut();
        if std::mem::take(&mut mailbox.unasked) {
            mailbox.out.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>");
        }
        while !mailbox.out.is_empty() {
            match Pin::new(&mut guest.tls).poll_write(cx, &mailbox.out) {
                Poll::Ready(Ok(count)) => mailbox.out.advance(count),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if Pin::new(&mut guest.tls).poll_flush(cx).is_ready() && guest.over {
            return Poll::Ready(());
        }
        mailbox.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
    guest.mailbox.borrow_mut().leave();
    let _closed = guest.tls.shutdown().await;
}

impl Guest {
    fn say(&self, bytes: &[u8]) {
        self.mailbox.borrow_mut().out.extend_from_slice(bytes);
    }

    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Decl => {}
            Frame::StreamOpen(_) => self.open(),
            Frame::StreamClose => {
                self.say(b"</stream:stream>");
                self.over = true;
                self.mailbox.borrow_mut().leave();
            }
            Frame::Stanza(element) => match kind(element) {
                Kind::Message => self.message(element),
                Kind::Requested => {
                    let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled);
                    self.say(answer.as_bytes());
                }
                Kind::Iq => {
                    self.handled += 1;
                    let keys = memchr::memmem::find_iter(element, b"<one-time ").count();
                    let keys = u64::try_from(keys).unwrap();
                    self.house.seen.prekeys.fetch_add(keys, Ordering::Relaxed);
                    self.say(b"<iq type='result' id='b'><bind/></iq>");
                }
                Kind::Presence => self.handled += 1,
                Kind::Acknowledged(h) => self.acknowledged(h),
                Kind::Other => self.other(element),
            },
        }
    }

    fn open(&self) {
        if self.house.habits.garbage {
            self.say(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            return;
        }
        self.say(
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' id='s' \
              xmlns:stream='http://etherx.jabber.org/streams'>",
        );
        self.say(if self.authenticated {
            b"<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
        } else {
            b"<stream:features><mechanisms/></stream:features>"
        });
    }

    fn other(&mut self, element: &[u8]) {
        if element.starts_with(b"<auth ") {
            if self.house.habits.refuse {
                self.say(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
                return;
            }
            use base64::Engine as _;
            let text = entente_engine::xml::text_of(element, b"<auth", b"</auth>").unwrap();
            let plain = base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap();
            self.user = plain.split(|byte| *byte == 0).nth(1).unwrap().to_vec();
            self.authenticated = true;
            let mut users = self.house.users.borrow_mut();
            let before = users.insert(self.user.clone(), Rc::clone(&self.mailbox));
            drop(users);
            if let Some(before) = before {
                let mut before = before.borrow_mut();
                self.waited = before.waits.split();
                let mut mailbox = self.mailbox.borrow_mut();
                mailbox.count = before.count;
                mailbox.owed = std::mem::take(&mut before.owed);
            }
            self.say(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            self.framer.restart();
        } else if element.starts_with(b"<enable") {
            self.handled = 0;
            // In one flight with what waited while the user was away.
            self.say(b"<enabled xmlns='urn:xmpp:sm:3'/>");
            let waited = std::mem::take(&mut self.waited);
            self.say(&waited);
            self.mailbox.borrow_mut().unasked = !waited.is_empty();
        }
    }

    fn message(&mut self, element: &[u8]) {
        self.handled += 1;
        let house = &self.house;
        let newest = house.users.borrow().get(&self.user).cloned();
        if newest.is_some_and(|newest| !Rc::ptr_eq(&newest, &self.mailbox)) {
            house.seen.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut messages = house.messages.borrow_mut();
        if *messages == 0 {
            house.begun.notify_waiters();
        }
        *messages += 1;
        let due = |each: Option<u64>| each.is_some_and(|each| messages.is_multiple_of(each));
        let to = attribute(element, b"to").unwrap();
        let to = to.split(|byte| *byte == b'@').next().unwrap();
        let users = house.users.borrow();
        let Some(mailbox) = users.get(to).filter(|_| !due(house.habits.lose)) else {
            return;
        };
        let mut mailbox = mailbox.borrow_mut();
        let gone = mailbox.gone;
        if gone && mailbox.waits.is_empty() {
            let user = String::from_utf8(to.to_vec()).unwrap();
            // Whether anybody wants to know is not its affair.
            let _told = house.missed.send(user);
        }
        let copies = if due(house.habits.double) { 2 } else { 1 };
        mailbox.count += copies;
        let asks = memchr::memmem::find(element, b"<request xmlns='urn:entente:0'/>").is_some();
        let id = attribute(element, b"id").unwrap_or_default().to_vec();
        if asks && !house.habits.hasty {
            let owed = (mailbox.count, self.user.clone(), id.clone());
            mailbox.owed.push_back(owed);
        }
        let out = if gone {
            &mut mailbox.waits
        } else {
            &mut mailbox.out
        };
        for _ in 0..copies {
            out.extend_from_slice(b"<message from='");
            out.extend_from_slice(&self.user);
            out.extend_from_slice(b"@stub.test/x'");
            let start = out.len();
            let rest = element.strip_prefix(b"<message").unwrap();
            let rest = rest.strip_suffix(b"</message>").unwrap();
            out.extend_from_slice(rest);
            if gone {
                out.extend_from_slice(b"<delay xmlns='urn:xmpp:delay'/>");
            }
            out.extend_from_slice(b"</message>");
            if due(house.habits.corrupt) {
                let find = |mark: &[u8]| memchr::memmem::find(&out[start..], mark);
                let at = find(b"<body").or_else(|| find(b"<enc")).unwrap();
                let end = memchr::memchr(b'>', &out[start + at..]).unwrap();
                out[start + at + end + 1] ^= 1;
            }
        }
        mailbox.unasked = true;
        if let Some(waker) = &mailbox.waker {
            waker.wake_by_ref();
        }
        drop(mailbox);
        drop(users);
        if asks && house.habits.hasty {
            self.receipt(&self.user, to, &id);
        }
    }

    /// The device has so many of its messages.
    fn acknowledged(&self, h: u32) {
        let due = |owed: &(u32, Vec<u8>, Vec<u8>)| owed.0 <= h;
        loop {
            let mut mailbox = self.mailbox.borrow_mut();
            let Some((_, sender, id)) = mailbox.owed.pop_front_if(|owed| due(owed)) else {
                return;
            };
            drop(mailbox);
            for _ in 0..if self.house.habits.repeat { 2 } else { 1 } {
                self.receipt(&sender, &self.user, &id);
            }
        }
    }

    /// Tells a sender that a user has a message.
    fn receipt(&self, sender: &[u8], user: &[u8], id: &[u8]) {
        let users = self.house.users.borrow();
        let Some(mailbox) = users.get(sender).filter(|mailbox| !mailbox.borrow().gone) else {
            return;
        };
        let mut mailbox = mailbox.borrow_mut();
        mailbox.count += 1;
        for part in [
            &b"<message type='headline' from='"[..],
            user,
            b"@stub.test'><receipt xmlns='urn:entente:0' kind='delivered'><id>",
            id,
            b"</id></receipt></message>",
        ] {
            mailbox.out.extend_from_slice(part);
        }
        if let Some(waker) = &mailbox.waker {
            waker.wake_by_ref();
        }
    }
}
