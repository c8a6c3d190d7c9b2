//! What an edge reports of a session when it attaches again, as a message and back.

use entente_core::{Epoch, Position, Sequence};

use crate::edge::{Management, Report, Unacked};
use crate::wire::Malformed;
use crate::wire::generated as proto;
use crate::wire::items::{read_refused, read_resume_key, refused, resume_key};
use crate::wire::words::{account, read_account};

pub(super) fn write(report: Report) -> proto::Reattach {
    let management = report.management.map(|management| proto::Management {
        inbound: management.inbound.value(),
        outbound: management.outbound.value(),
        resume: management.resume.as_ref().map(resume_key),
    });
    let unacked = report.unacked.into_iter().map(|unacked| proto::Unacked {
        position: unacked.position.value(),
        sequence: unacked.sequence.value(),
        cost: unacked.cost,
    });
    proto::Reattach {
        account: Some(account(report.account)),
        epoch: report.epoch.value(),
        management,
        started: report.started,
        credit: report.credit,
        handled: report.handled.value(),
        sent: report.sent.value(),
        acked: report.acked.value(),
        delivered: report.delivered.value(),
        settled: report.settled.value(),
        unacked: unacked.collect(),
        refusals: report.refusals.into_iter().map(refused).collect(),
    }
}

pub(super) fn read(message: proto::Reattach) -> Result<Report, Malformed> {
    let management = message.management.map(|management| {
        Ok(Management {
            inbound: Position::new(management.inbound),
            outbound: Position::new(management.outbound),
            resume: management.resume.map(read_resume_key).transpose()?,
        })
    });
    let unacked = message.unacked.into_iter().map(|unacked| Unacked {
        position: Position::new(unacked.position),
        sequence: Sequence::new(unacked.sequence),
        cost: unacked.cost,
    });
    let refusals: Result<_, _> = message.refusals.into_iter().map(read_refused).collect();
    Ok(Report {
        account: read_account(message.account)?,
        epoch: Epoch::new(message.epoch),
        management: management.transpose()?,
        started: message.started,
        credit: message.credit,
        handled: Position::new(message.handled),
        sent: Position::new(message.sent),
        acked: Position::new(message.acked),
        delivered: Sequence::new(message.delivered),
        settled: Sequence::new(message.settled),
        unacked: unacked.collect(),
        refusals: refusals?,
    })
}
