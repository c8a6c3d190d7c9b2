//! What push needs to know of partners, from identity's registry.

use std::sync::Arc;

use entente_core::PartnerId;
use entente_identity::{Registry, State};
use entente_push::{Endpoint, Endpoints};

/// The registry as push sees it.
#[derive(Debug)]
pub(crate) struct RegistryEndpoints(pub(crate) Arc<Registry>);

impl Endpoints for RegistryEndpoints {
    fn endpoint(&self, partner: PartnerId) -> Option<Endpoint> {
        let partner = self.0.partner(partner)?;
        Some(Endpoint {
            base: partner.push.clone()?,
            active: partner.state == State::Active,
        })
    }
}
