//! The block list (XEP-0191), kept with the account.

use entente_core::AccountId;
use entente_proto::directory::BlockChange;
use entente_stanza::{Element, Jid, StanzaCondition, ns};

use super::Session;
use super::ask::Ask;
use super::iq::Reply;

impl Session {
    pub(super) fn blocking(&self, what: &Element, get: bool) -> Reply {
        match what.name() {
            "blocklist" if get => Reply::Ask(Ask::Blocked),
            "block" | "unblock" if !get => match self.change(what) {
                Ok(change) => Reply::Ask(Ask::ChangeBlocked(change)),
                Err(condition) => condition.into(),
            },
            _ => StanzaCondition::BadRequest.into(),
        }
    }

    fn change(&self, what: &Element) -> Result<BlockChange, StanzaCondition> {
        let accounts = what
            .elements()
            .map(|item| self.blockable(item))
            .collect::<Result<Vec<AccountId>, _>>()?;
        match (what.name(), accounts.is_empty()) {
            // XEP-0191 section 3.3: nothing to block is a bad request; to unblock nothing is to
            // unblock all.
            ("block", true) => Err(StanzaCondition::BadRequest),
            ("block", false) => Ok(BlockChange {
                add: accounts,
                ..BlockChange::default()
            }),
            (_, clear) => Ok(BlockChange {
                clear,
                remove: accounts,
                ..BlockChange::default()
            }),
        }
    }

    /// Only whole accounts of this deployment can be blocked: nobody else can write.
    fn blockable(&self, item: &Element) -> Result<AccountId, StanzaCondition> {
        let jid = item
            .attribute("jid")
            .filter(|_| item.is("item", &ns::BLOCKING))
            .ok_or(StanzaCondition::BadRequest)?;
        let jid = Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?;
        if jid.domain() != self.rules.domain.as_str() {
            return Err(StanzaCondition::NotAcceptable);
        }
        jid.account().ok_or(StanzaCondition::ItemNotFound)
    }

    pub(super) fn block_list(&self, accounts: &[AccountId]) -> Element {
        let mut list = Element::new("blocklist", ns::BLOCKING);
        for account in accounts {
            let jid = Jid::of_account(*account, &self.rules.domain);
            list.push(Element::new("item", ns::BLOCKING).with_attribute("jid", &jid));
        }
        list
    }
}
