//! Key material in the messages: prekeys, bundles, enlistments.

use bytes::Bytes;
use entente_core::{
    AccountId, Bundle, EnlistChange, Enlisted, Enlistment, KyberPrekey, OneTimePrekey, PrekeyCount,
    PrekeyUpload, SignedPrekey,
};

use crate::wire::Malformed;
use crate::wire::generated as proto;
use crate::wire::words::{account, exact, read_account, read_partner, read_visible};

fn signed(key: SignedPrekey) -> proto::SignedPrekey {
    proto::SignedPrekey {
        id: key.id,
        key: Bytes::copy_from_slice(&key.key),
        signature: key.signature,
    }
}

fn read_signed(key: proto::SignedPrekey) -> Result<SignedPrekey, Malformed> {
    Ok(SignedPrekey {
        id: key.id,
        key: exact(&key.key)?,
        signature: key.signature,
    })
}

fn one_time(key: &OneTimePrekey) -> proto::OneTimePrekey {
    proto::OneTimePrekey {
        id: key.id,
        key: Bytes::copy_from_slice(&key.key),
    }
}

fn read_one_time(key: &proto::OneTimePrekey) -> Result<OneTimePrekey, Malformed> {
    Ok(OneTimePrekey {
        id: key.id,
        key: exact(&key.key)?,
    })
}

fn kyber(key: KyberPrekey) -> proto::KyberPrekey {
    proto::KyberPrekey {
        id: key.id,
        key: key.key,
        signature: key.signature,
    }
}

fn read_kyber(key: proto::KyberPrekey) -> KyberPrekey {
    KyberPrekey {
        id: key.id,
        key: key.key,
        signature: key.signature,
    }
}

pub(super) fn upload(of: AccountId, keys: PrekeyUpload) -> proto::UploadRequest {
    let keys = proto::PrekeyUpload {
        signed: keys.signed.map(signed),
        one_time: keys.one_time.iter().map(one_time).collect(),
        last_resort: keys.last_resort.map(kyber),
        kyber: keys.kyber.into_iter().map(kyber).collect(),
    };
    proto::UploadRequest {
        account: Some(account(of)),
        keys: Some(keys),
    }
}

pub(super) fn read_upload(
    request: proto::UploadRequest,
) -> Result<(AccountId, PrekeyUpload), Malformed> {
    let keys = request.keys.ok_or(Malformed)?;
    let one_time: Result<_, _> = keys.one_time.iter().map(read_one_time).collect();
    let keys = PrekeyUpload {
        signed: keys.signed.map(read_signed).transpose()?,
        one_time: one_time?,
        last_resort: keys.last_resort.map(read_kyber),
        kyber: keys.kyber.into_iter().map(read_kyber).collect(),
    };
    Ok((read_account(request.account)?, keys))
}

pub(super) const fn count(count: PrekeyCount) -> proto::PrekeyCount {
    proto::PrekeyCount {
        one_time: count.one_time,
        kyber: count.kyber,
    }
}

pub(super) const fn read_count(count: proto::PrekeyCount) -> PrekeyCount {
    PrekeyCount {
        one_time: count.one_time,
        kyber: count.kyber,
    }
}

pub(super) fn bundle(bundle: Bundle) -> proto::Bundle {
    proto::Bundle {
        account: Some(account(bundle.account)),
        registration: bundle.registration,
        identity: Bytes::copy_from_slice(&bundle.identity),
        signed: Some(signed(bundle.signed)),
        one_time: bundle.one_time.as_ref().map(one_time),
        kyber: bundle.kyber.map(kyber),
        last_resort: bundle.last_resort,
    }
}

pub(super) fn read_bundle(bundle: proto::Bundle) -> Result<Bundle, Malformed> {
    Ok(Bundle {
        account: read_account(bundle.account)?,
        registration: bundle.registration,
        identity: exact(&bundle.identity)?,
        signed: read_signed(bundle.signed.ok_or(Malformed)?)?,
        one_time: bundle.one_time.as_ref().map(read_one_time).transpose()?,
        kyber: bundle.kyber.map(read_kyber),
        last_resort: bundle.last_resort,
    })
}

pub(super) fn enlistment(enlistment: Enlistment) -> proto::Enlistment {
    proto::Enlistment {
        partner: enlistment.partner.number().into(),
        visible: enlistment.visible.as_str().to_owned(),
        transport: Bytes::copy_from_slice(&enlistment.transport),
        registration: enlistment.registration,
        identity: Bytes::copy_from_slice(&enlistment.identity),
        signed: Some(signed(enlistment.signed)),
    }
}

pub(super) fn read_enlistment(enlistment: proto::Enlistment) -> Result<Enlistment, Malformed> {
    Ok(Enlistment {
        partner: read_partner(enlistment.partner)?,
        visible: read_visible(&enlistment.visible)?,
        transport: exact(&enlistment.transport)?,
        registration: enlistment.registration,
        identity: exact(&enlistment.identity)?,
        signed: read_signed(enlistment.signed.ok_or(Malformed)?)?,
    })
}

pub(super) fn enlisted(enlisted: Enlisted) -> proto::Enlisted {
    let change = match enlisted.change {
        EnlistChange::Created => proto::EnlistChange::Created,
        EnlistChange::Replaced => proto::EnlistChange::Replaced,
        EnlistChange::Same => proto::EnlistChange::Same,
    };
    proto::Enlisted {
        account: Some(account(enlisted.account)),
        change: change.into(),
    }
}

pub(super) fn read_enlisted(enlisted: proto::Enlisted) -> Result<Enlisted, Malformed> {
    let change = match enlisted.change() {
        proto::EnlistChange::Created => EnlistChange::Created,
        proto::EnlistChange::Replaced => EnlistChange::Replaced,
        proto::EnlistChange::Same => EnlistChange::Same,
        proto::EnlistChange::Unspecified => return Err(Malformed),
    };
    Ok(Enlisted {
        account: read_account(enlisted.account)?,
        change,
    })
}
