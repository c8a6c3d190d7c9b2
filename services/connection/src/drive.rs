//! Runs one bound session: socket, owner, other services and time on one side, [`Session`] on the
//! other.
//!
//! **Invariants**
//! - What was parsed from one read goes to the owner as one batch.
//! - While much waits to be written, nothing is read, so a client that does not read cannot make
//!   us queue answers (T30).
//! - One timer a connection. It is moved when a deadline comes nearer, never when it goes away: then
//!   it rings early, finds nothing due, and is set anew.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use entente_proto::edge::{EdgeSender, ToRouter};
use entente_stanza::{Element, Received, StreamCondition};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::drain::elsewhere;
use crate::events;
use crate::links::{Notice, REATTACH_TIME, Seat};
use crate::negotiate::{Host, Negotiated};
use crate::session::{
    ANSWER_PATIENCE, Answer, Cause, Effects, End, Parting, Question, Session, Tally, answer,
};
use crate::stream::{Broken, Io, Stream};

/// Output that waits beyond this stops the reading of more requests.
const OUTPUT_HIGH: usize = 64 * 1024;
/// How long the flight with `<enabled/>` stays alone if the client says nothing after it.
const HOLD: Duration = Duration::from_millis(100);

/// A session with everything that it runs on.
struct Run<'a> {
    stream: &'a mut Stream,
    host: &'a Host,
    seat: Seat,
    session: Session,
    /// Whether there is a stream to the owner.
    has_owner: bool,
    router: Vec<ToRouter>,
    questions: Vec<Question>,
    answers: Option<Box<FuturesUnordered<BoxFuture<'static, Answer>>>>,
    tally: Tally,
    end: Option<End>,
    /// When the backlog comes without a sign of the client.
    start: Instant,
    /// When what is on hold is let go; set when the flight before it has left.
    hold: Option<Instant>,
    /// When the client's `<r/>` is answered even if the log has not caught up.
    answer_by: Option<Instant>,
    /// Since when a sign of life is waited for.
    probed: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// What happened.
enum Event {
    Answer(Box<Answer>),
    Io(Io),
    Notices(std::collections::VecDeque<Notice>),
    Time,
}

/// Runs a session to its end. The stream is closed and the owner knows.
pub(crate) async fn run(stream: &mut Stream, host: &Host, negotiated: Negotiated) {
    let _counted = host.meters.bound();
    let now = Instant::now();
    let mut run = Run {
        stream,
        host,
        seat: negotiated.seat,
        session: negotiated.session,
        has_owner: true,
        router: Vec::new(),
        questions: Vec::new(),
        answers: None,
        tally: Tally::default(),
        end: None,
        start: now + host.rules.config.deadlines.start.get(),
        hold: None,
        answer_by: None,
        probed: None,
        timer: Box::pin(sleep_until(now + host.rules.config.deadlines.idle.get())),
    };
    if negotiated.resumed {
        run.with(Session::start);
    }
    let end = run.until_end().await;
    Box::pin(run.finish(end)).await;
}

impl Run<'_> {
    /// Lets the session act and keeps what it wants done.
    fn with(&mut self, act: impl FnOnce(&mut Session, &mut Effects<'_>)) {
        let mut fx = Effects {
            out: &mut self.stream.out,
            router: &mut self.router,
            questions: &mut self.questions,
            tally: &mut self.tally,
            end: self.end.take(),
        };
        act(&mut self.session, &mut fx);
        self.end = fx.end;
    }

    async fn until_end(&mut self) -> End {
        loop {
            self.take_received();
            self.with(|session, fx| session.settle(fx));
            self.ask();
            if self.session.owes_answer() {
                self.answer_by
                    .get_or_insert_with(|| Instant::now() + ANSWER_PATIENCE);
            } else {
                self.answer_by = None;
            }
            self.host.meters.tally(&std::mem::take(&mut self.tally));
            if !self.has_owner || self.seat.send(&mut self.router).await.is_err() {
                // The next owner is told by the session's report and what follows it.
                self.router.clear();
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            match self.event().await {
                Event::Answer(answer) => self.with(|session, fx| session.answered(*answer, fx)),
                Event::Io(io) => self.io(io),
                Event::Notices(notices) => {
                    for notice in notices {
                        self.notice(notice);
                    }
                }
                Event::Time => self.time(),
            }
        }
    }

    /// Whether more of the client can be taken now.
    fn takes_more(&self) -> bool {
        self.stream.out.len() < OUTPUT_HIGH && self.session.takes_more(self.has_owner)
    }

    /// Hands everything that was received to the session, unless too much waits to be written.
    fn take_received(&mut self) {
        while self.end.is_none() && self.takes_more() {
            match self.stream.received() {
                Ok(Some(Received::Element(element))) => {
                    self.with(|session, fx| session.receive(element, fx));
                }
                Ok(Some(Received::Close)) => self.over(Cause::Closed, Parting::End, None),
                Ok(Some(Received::Open(_))) => {
                    self.broken(Broken::Fault(entente_stanza::StreamFault::StreamHeader))
                }
                Ok(None) => {
                    self.stream.settle();
                    return;
                }
                Err(fault) => self.broken(Broken::Fault(fault)),
            }
        }
    }

    /// Waits for the next thing to happen.
    async fn event(&mut self) -> Event {
        let deadline = self.deadline();
        if deadline < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        let read = self.takes_more();
        let (stream, seat, answers) = (&mut *self.stream, &self.seat, &mut self.answers);
        let timer = &mut self.timer;
        let tell = self.session.owes_grant() || stream.out.is_holding() || !read;
        let io = poll_fn(|cx| stream.poll_io(cx, read, tell));
        let answered = async {
            match answers {
                Some(answers) => answers.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Notices first: deliveries and the order to end must not starve behind a busy socket.
            biased;
            notices = seat.notices() => Event::Notices(notices),
            Some(answer) = answered => Event::Answer(Box::new(answer)),
            io = io => Event::Io(io),
            () = timer => Event::Time,
        }
    }

    fn io(&mut self, io: Io) {
        match io {
            Io::Gone => self.broken(Broken::Gone),
            Io::Read => {
                self.probed = None;
                if self.hold.take().is_some() {
                    self.stream.out.release();
                }
            }
            Io::Written => {
                if self.stream.out.is_holding() && self.hold.is_none() {
                    self.hold = Some(Instant::now() + HOLD);
                }
                self.with(Session::grant);
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Edge(item) => self.with(|session, fx| session.notice(item, fx)),
            Notice::Attached(sender) => self.attach(sender),
            Notice::Detached => self.has_owner = false,
            Notice::Drained => {
                let elsewhere = elsewhere(&self.host.rules.config, self.stream.framing());
                match elsewhere {
                    Some(error) => self.end_with(Cause::Drained, Parting::Detach, Some(error)),
                    None => self.with(|session, fx| session.refuse_rest(Cause::Drained, fx)),
                }
            }
            Notice::Lost => self.with(|session, fx| session.refuse_rest(Cause::Lost, fx)),
            Notice::Overflow => self.with(|session, fx| session.refuse_rest(Cause::Overflow, fx)),
            Notice::Revoked => self.with(|session, fx| session.refuse_rest(Cause::Revoked, fx)),
        }
    }

    /// Tells the owner at the end of a new stream of the session.
    fn attach(&mut self, sender: EdgeSender) {
        self.seat.attach(sender);
        self.has_owner = true;
        // What waits is part of what is told.
        self.router.clear();
        self.with(Session::reattach);
    }

    // === Time ===

    fn deadline(&self) -> Instant {
        let deadlines = &self.host.rules.config.deadlines;
        let idle = match self.probed {
            Some(probed) => probed + deadlines.probe.get(),
            None => self.stream.alive + deadlines.idle.get(),
        };
        let start = self.session.expects_start().then_some(self.start);
        [
            Some(idle),
            start,
            self.hold,
            self.answer_by,
            self.stream.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(idle)
    }

    fn time(&mut self) {
        let now = Instant::now();
        let deadlines = &self.host.rules.config.deadlines;
        let (idle, probe) = (deadlines.idle.get(), deadlines.probe.get());
        if self.hold.is_some_and(|hold| hold <= now) {
            self.hold = None;
            self.stream.out.release();
        }
        if self.answer_by.is_some_and(|by| by <= now) {
            self.with(Session::put_off);
        }
        if self.session.expects_start() && self.start <= now {
            self.with(Session::start);
        }
        if self
            .stream
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.broken(Broken::Late);
        }
        if !self.takes_more() {
            // It may say much that we do not hear.
            (self.stream.alive, self.probed) = (now, None);
        }
        match self.probed {
            Some(probed) if probed + probe <= now => {
                self.with(|session, fx| session.refuse_rest(Cause::Late, fx));
            }
            None if self.stream.alive + idle <= now => {
                self.probed = Some(now);
                self.with(Session::probe);
            }
            _ => {}
        }
    }

    // === Questions ===

    fn ask(&mut self) {
        for question in self.questions.drain(..) {
            let account = self.session.me.account;
            let asked = answer(self.host.identity.clone(), account, question);
            self.answers.get_or_insert_default().push(Box::pin(asked));
        }
        if self
            .answers
            .as_ref()
            .is_some_and(|answers| answers.is_empty())
        {
            self.answers = None;
        }
    }

    // === The end ===

    fn broken(&mut self, broken: Broken) {
        let (cause, parting) = match broken {
            Broken::Fault(_) => (Cause::Misbehaved, Parting::End),
            Broken::Gone => (Cause::Gone, Parting::Detach),
            Broken::Late => (Cause::Late, Parting::Detach),
        };
        self.over(cause, parting, broken.error());
    }

    fn over(
        &mut self,
        cause: Cause,
        parting: Parting,
        error: Option<(StreamCondition, &'static str)>,
    ) {
        let error = error.map(|(condition, text)| condition.to_element(Some(text)));
        self.end_with(cause, parting, error);
    }

    fn end_with(&mut self, cause: Cause, parting: Parting, error: Option<Element>) {
        self.end.get_or_insert(End {
            error,
            parting,
            cause,
        });
    }

    /// Tells the owner first, so that a client that comes back at once finds the session.
    async fn finish(mut self, mut end: End) {
        events::Ended(end.cause).emit(&self.host.meters);
        let parting = self.session.parting(end.parting);
        let waits = matches!(parting, Some(ToRouter::Detach { .. })) && end.cause != Cause::Drained;
        if !self.has_owner && waits {
            self.stream.close(end.error.as_ref()).await;
            end.cause = Cause::Gone;
            if !self.finds_owner().await {
                return;
            }
        }
        let answer_by = Instant::now() + self.host.rules.config.deadlines.answer.get();
        match parting {
            Some(parting) => self.router.push(parting),
            None => self.seat.part(),
        }
        // An owner that is gone, or takes nothing, detaches the session by itself.
        let _told = timeout_at(answer_by, self.seat.send(&mut self.router)).await;
        drop(self.seat);
        if end.cause != Cause::Gone {
            self.stream.close(end.error.as_ref()).await;
        }
    }

    /// Waits until the next owner can be told how a session stands that may be resumed.
    async fn finds_owner(&mut self) -> bool {
        let found = async {
            loop {
                match self.seat.notice().await {
                    Notice::Attached(sender) => break Some(sender),
                    Notice::Lost | Notice::Revoked => break None,
                    _ => {}
                }
            }
        };
        let Ok(Some(sender)) = timeout(REATTACH_TIME, found).await else {
            return false;
        };
        self.attach(sender);
        true
    }
}
