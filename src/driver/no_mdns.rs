//! Without the feature `mdns` no name is resolved, and none answered for.

use std::net::IpAddr;
use std::sync::Arc;

use super::shared::{Core, Shared};
use crate::candidate::Candidate;
use crate::net::AgentId;

#[expect(clippy::unused_self, reason = "as with the feature")]
impl Core {
    pub(super) fn resolve(
        &self,
        _: &Arc<Shared>,
        _: AgentId,
        _: u16,
        _: Option<&str>,
        _: &Candidate,
    ) -> bool {
        false
    }

    pub(super) fn publish(&self, _: &Arc<Shared>, _: AgentId) {}

    pub(super) fn unpublish(&self, _: AgentId, _: Vec<(String, IpAddr)>) {}

    pub(super) fn mdns_follow(&self) {}

    pub(super) fn mdns_end(&self) {}
}
