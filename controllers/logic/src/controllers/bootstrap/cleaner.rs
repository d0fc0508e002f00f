//! Deletes join tokens that have expired.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;

use crate::controller::{Context, Controller};
use crate::controllers::bootstrap::{expiration, has_expired, is_token};
use crate::plan::Plan;
use crate::world::{Change, Key, Kind, World};

pub struct TokenCleaner;

impl Controller for TokenCleaner {
    fn name(&self) -> &'static str {
        "token_cleaner"
    }
    fn account(&self) -> &'static str {
        "token-cleaner"
    }
    fn workers(&self) -> usize {
        1
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Secret => change.current::<Secret>().filter(|own| is_token(own)).map(Key::of).into_iter().collect(),
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(secret) = world.secrets.at(key).filter(|secret| is_token(secret)) else { return plan };
        if has_expired(secret, context.now) {
            plan.delete(&**secret);
        } else if let Some(Ok(end)) = expiration(secret) {
            let left = Duration::try_from(end.duration_since(context.now)).unwrap_or(Duration::ZERO);
            // Times have fractions of a second: not before the end.
            plan.requeue(left + Duration::from_secs(1));
        }
        plan
    }
}
