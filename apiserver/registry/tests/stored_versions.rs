//! In which version objects are stored, and that what was stored in another one is read, and written anew.

use api_codec::{stored, stored_version};
use api_machinery::{ObjectKey, Value, object};
use api_registry::{ListOptions, WatchOptions};
use api_schema::Schema;
use store_api::{ReadAt, Txn};

use crate::common::{Harness, next, resource};

const EARLY: [&str; 3] = [
    "admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
    "admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
    "apiextensions.k8s.io/v1/customresourcedefinitions",
];

fn key(path: &str, name: &str) -> String {
    ObjectKey::new(resource(path).storage.clone(), "", name).store_key()
}

async fn in_store(h: &Harness, path: &str, name: &str) -> Value {
    let store = h.store.clone().into_dyn();
    let reply = store.get(key(path, name).as_bytes(), ReadAt::Linearizable).await.expect("it answers");
    serde_json::from_slice(&reply.kv.expect("it is there").value).expect("JSON")
}

/// The list of what is stored otherwise is what the facts say.
#[test]
fn what_is_stored_early_is_what_the_facts_say() {
    let all = Schema::serving("api/all=true", "").expect("known");
    let early = all.resources().iter().filter(|one| one.gv == one.hub_gv && one.storage_gv != one.hub_gv);
    let mut early: Vec<(String, String, String)> =
        early.map(|one| (one.kind.clone(), one.hub_gv.to_string(), one.storage_gv.to_string())).collect();
    let mut listed =
        stored_version::EARLY.map(|(kind, hub, stored)| (kind.to_owned(), hub.to_owned(), stored.to_owned()));
    early.sort();
    listed.sort();
    assert_eq!(early, listed);
}

#[tokio::test]
async fn early_versions_are_stored_and_stable_ones_worked_with() {
    for path in EARLY {
        let h = Harness::new().await;
        let kind = api_kinds::of(&resource(path).group_resource());
        let sample = kind.sample();
        let name = object::name(&sample).to_owned();
        let mut watch = h.watch(path, "", WatchOptions::default()).await;
        let made = h.create(path, "", sample).await.expect("created");
        let (stable, early) = (resource(path).hub_gv.to_string(), resource(path).storage_gv.to_string());
        assert_ne!(stable, early);
        assert_eq!(object::str_at(&in_store(&h, path, &name).await, "apiVersion"), early, "{path}");
        assert_eq!(object::str_at(&made.object, "apiVersion"), stable, "{path}");
        let got = h.get(path, &name).await.expect("there");
        assert_eq!(*got, *made.object, "{path}");
        let unchanged = h.update(path, &name, (*got).clone()).await.expect("updated");
        assert_eq!(unchanged.revision, made.revision, "{path}: nothing is written");
        assert_eq!(next(&mut watch).await, [format!("ADDED {name}@{}", made.revision)]);

        // As it was stored before: it is read, listed as of a revision too, and written in the new version when asked
        // to.
        let old =
            h.store.clone().into_dyn().txn(Txn::put(key(path, &name), stored::encode(&got))).await.expect("written");
        let read = h.get(path, &name).await.expect("there");
        assert_eq!((object::str_at(&read, "apiVersion"), &read["spec"]), (stable.as_str(), &got["spec"]), "{path}");
        for revision in [made.revision, old.revision] {
            let options = ListOptions { resource_version: Some(revision), limit: 5, ..ListOptions::default() };
            let listed = h.list(path, "", options).await.expect("listed").objects[0].value();
            assert_eq!((object::str_at(&listed, "apiVersion"), &listed["spec"]), (stable.as_str(), &got["spec"]));
        }
        let again = h.update(path, &name, (*read).clone()).await.expect("updated");
        assert!(again.revision > old.revision, "{path}: it is written anew");
        assert_eq!(object::str_at(&in_store(&h, path, &name).await, "apiVersion"), early, "{path}");
        assert_eq!(h.get(path, &name).await.expect("there")["spec"], got["spec"], "{path}");
    }
}
