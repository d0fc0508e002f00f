//! Members.

use etcd_client::MemberAddOptions;

use crate::transcript::Transcript;

pub(crate) async fn members(t: &mut Transcript) {
    let answer = t.client.member_list().await.expect("members");
    let header = t.at(answer.header());
    t.line(format!("members {header}"));
    let me = answer.header().expect("a header").member_id();
    assert!(answer.members().iter().any(|member| member.id() == me), "whoever answers is a member");
    for member in answer.members() {
        assert!(!member.name().is_empty() && member.id() != 0);
        let (peers, clients) = (member.peer_urls().len(), member.client_urls().len());
        let learner = if member.is_learner() { "learner" } else { "voter" };
        if member.id() == me {
            t.line(format!("a {learner} with {peers} peer URL and {clients} client URL"));
        }
    }
}

pub(crate) async fn refused(t: &mut Transcript) {
    let members = t.client.member_list().await.expect("members");
    let me = members.members()[0].clone();
    let removed = t.client.member_remove(77_777).await;
    t.outcome("remove an unknown one", removed, |_, _| "done".into());
    let promoted = t.client.member_promote(77_777).await;
    t.outcome("promote an unknown one", promoted, |_, _| "done".into());
    let promoted = t.client.member_promote(me.id()).await;
    t.outcome("promote a voter", promoted, |_, _| "done".into());
    let updated = t.client.member_update(77_777, ["http://127.0.0.1:1".to_owned()]).await;
    t.outcome("update an unknown one", updated, |_, _| "done".into());
    let added = t.client.member_add(me.peer_urls(), Some(MemberAddOptions::new().with_is_learner())).await;
    t.outcome("add one that is there", added, |_, _| "done".into());
    let added = t.client.member_add(["nonsense"], None).await;
    t.outcome("add nonsense", added, |_, _| "done".into());
}
