//! Users and roles where authentication was never enabled.

use crate::transcript::Transcript;

pub(crate) async fn not_enabled(t: &mut Transcript) {
    let users = t.client.user_list().await;
    t.outcome("users", users, |_, answer| format!("{:?}", answer.users()));
    let roles = t.client.role_list().await;
    t.outcome("roles", roles, |_, answer| format!("{:?}", answer.roles()));
    let enabled = t.client.auth_enable().await;
    t.outcome("enable", enabled, |_, _| "done".into());
    let disabled = t.client.auth_disable().await;
    t.outcome("disable", disabled, |_, _| "done".into());
    let user = t.client.user_get("somebody").await;
    t.outcome("get a user", user, |_, _| "done".into());
    let user = t.client.user_delete("somebody").await;
    t.outcome("delete a user", user, |_, _| "done".into());
    let user = t.client.user_change_password("somebody", "secret").await;
    t.outcome("change a password", user, |_, _| "done".into());
    let user = t.client.user_grant_role("somebody", "something").await;
    t.outcome("grant a role", user, |_, _| "done".into());
    let user = t.client.user_revoke_role("somebody", "something").await;
    t.outcome("revoke a role", user, |_, _| "done".into());
    let role = t.client.role_get("something").await;
    t.outcome("get a role", role, |_, _| "done".into());
    let role = t.client.role_delete("something").await;
    t.outcome("delete a role", role, |_, _| "done".into());
}
