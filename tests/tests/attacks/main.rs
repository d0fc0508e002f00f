//! The list of attacks: what has been tried on Kubernetes and its like, tried on the built server. A row is a function
//! named after it, in the file of its kind, and passes when everything it tries is refused as expected, and what is
//! right beside it is not. Rows that need what is not there yet say what they wait for.

mod access;
mod admission;
mod crypto;
mod exhaustion;
mod frames;
mod identity;
mod nodes;
mod peers;
#[path = "../../../apiserver/http/tests/common/rows.rs"]
mod rows;
mod upgrade;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use world::World;

/// One row may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

type Attack = for<'a> fn(&'a World) -> LocalBoxFuture<'a, ()>;

enum How {
    Tried(Attack),
    /// For what.
    Waits(&'static str),
}

struct Row {
    number: u32,
    name: &'static str,
    how: How,
}

macro_rules! tried {
    ($number:literal, $module:ident :: $name:ident) => {
        Row { number: $number, name: stringify!($name), how: How::Tried(|world| $module::$name(world).boxed_local()) }
    };
}

const fn waits(number: u32, name: &'static str, reason: &'static str) -> Row {
    Row { number, name, how: How::Waits(reason) }
}

/// In the order of the list, none left out.
const ROWS: &[Row] = &[
    tried!(1, upgrade::a01_refused_upgrades_are_no_tunnels),
    tried!(2, upgrade::a02_redirects_of_kubelets_are_not_followed),
    waits(3, "a03_redirects_of_aggregated_apis_are_not_followed", "aggregated APIs"),
    tried!(4, upgrade::a04_nodes_on_forbidden_addresses_are_not_proxied_to),
    tried!(5, upgrade::a05_a_node_does_not_turn_the_server_on_itself),
    tried!(6, upgrade::a06_names_are_resolved_once),
    tried!(7, upgrade::a07_webhooks_answers_are_not_logged),
    tried!(8, upgrade::a08_controllers_fetch_nothing_for_objects),
    tried!(9, upgrade::a09_proxied_pods_get_no_credentials),
    tried!(10, upgrade::a10_headers_of_proxies_are_stripped),
    tried!(11, upgrade::a11_requests_are_not_smuggled),
    tried!(12, upgrade::a12_paths_have_one_form),
    tried!(13, access::a13_namespaces_of_dots),
    tried!(14, access::a14_cluster_scoped_objects_by_namespaced_paths),
    tried!(15, access::a15_kinds_with_a_common_prefix),
    tried!(16, access::a16_ranges_do_not_spill),
    tried!(17, access::a17_parents_do_not_grant_subresources),
    tried!(18, access::a18_reading_runs_nothing),
    tried!(19, access::a19_proxying_to_nodes_runs_nothing),
    tried!(20, access::a20_nobody_gives_more_than_they_have),
    tried!(21, access::a21_acting_as_somebody_else_needs_each_right),
    tried!(22, identity::a22_only_front_proxies_say_who_somebody_is),
    tried!(23, identity::a23_tokens_end_with_what_they_are_bound_to),
    tried!(24, identity::a24_nobody_gets_a_token_of_another_account),
    tried!(25, identity::a25_bootstrap_tokens_are_headers_and_end),
    tried!(26, identity::a26_certificate_requests_for_others),
    tried!(27, identity::a27_certificates_that_are_not_good),
    tried!(28, access::a28_strangers_learn_nothing),
    tried!(29, access::a29_reviews_of_oneself_tell_of_oneself),
    tried!(30, access::a30_what_is_taken_away_is_gone_at_once),
    tried!(31, identity::a31_issuers_that_misbehave),
    tried!(32, nodes::a32_nodes_change_themselves_only_so_far),
    tried!(33, nodes::a33_nodes_have_no_owners_of_their_choice),
    tried!(34, nodes::a34_mirror_pods_refer_to_nothing),
    tried!(35, nodes::a35_nodes_read_what_their_pods_need),
    tried!(36, nodes::a36_nodes_write_what_is_theirs),
    waits(37, "a37_webhooks_see_the_stored_object", "admission webhooks"),
    tried!(38, admission::a38_policies_look_at_every_container),
    tried!(39, admission::a39_every_path_is_admitted),
    waits(40, "a40_webhooks_that_fail", "admission webhooks"),
    tried!(41, admission::a41_versions_do_not_skip_policies),
    tried!(42, admission::a42_services_take_no_foreign_addresses),
    tried!(43, admission::a43_endpoints_on_forbidden_addresses),
    tried!(44, admission::a44_addresses_with_leading_zeros),
    tried!(45, admission::a45_pods_go_before_network_policies),
    tried!(46, admission::a46_owners_across_namespaces),
    tried!(47, admission::a47_metadata_is_the_servers),
    tried!(48, admission::a48_hosts_and_profiles_of_restricted_pods),
    tried!(49, exhaustion::a49_bombs_and_depth),
    tried!(50, exhaustion::a50_json_patches),
    tried!(51, exhaustion::a51_metrics_stay_bounded),
    tried!(52, exhaustion::a52_floods_of_http2),
    tried!(53, exhaustion::a53_slow_clients),
    tried!(54, exhaustion::a54_lists_and_watches_without_end),
    tried!(55, exhaustion::a55_headers_queries_and_gzip),
    tried!(56, exhaustion::a56_expressions_and_schemas_without_end),
    tried!(57, exhaustion::a57_floods_of_events),
    tried!(58, peers::a58_strangers_on_the_peers_port),
    tried!(59, crypto::a59_a_canary_is_found_nowhere),
    tried!(60, crypto::a60_debug_pages_need_rights),
    tried!(61, crypto::a61_what_exists_is_not_told),
    tried!(62, crypto::a62_old_tls),
    tried!(63, crypto::a63_ciphertexts_do_not_move),
    tried!(64, crypto::a64_the_servers_own_identity_stays_inside),
];
const LAST: u32 = 64;

#[test]
fn every_row_is_there_once() {
    let numbers: Vec<u32> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=LAST).collect::<Vec<_>>());
    for row in ROWS {
        assert!(row.name.starts_with(&format!("a{:02}_", row.number)), "{}", row.name);
    }
}

/// `ATTACK=a12` tries one.
#[test]
fn what_is_tried_is_refused() {
    let only = std::env::var("ATTACK").ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    let world = World::start();
    runtime.block_on(world.settle());
    let (mut refused, mut waiting, mut failed) = (0, 0, Vec::new());
    for row in ROWS.iter().filter(|row| only.as_ref().is_none_or(|only| row.name.starts_with(only.as_str()))) {
        let attack = match &row.how {
            How::Tried(attack) => attack,
            How::Waits(reason) => {
                waiting += 1;
                println!("{}: not yet applicable: {reason}", row.name);
                continue;
            }
        };
        let started = Instant::now();
        let tried = AssertUnwindSafe(tokio::time::timeout(PATIENCE, attack(&world))).catch_unwind();
        match runtime.block_on(tried) {
            Ok(Ok(())) => {
                refused += 1;
                println!("{}: refused as expected, {} ms", row.name, started.elapsed().as_millis());
            }
            // What went wrong is printed where it did.
            Ok(Err(_)) => failed.push(format!("{}: not over within {} s", row.name, PATIENCE.as_secs())),
            Err(_) => failed.push(row.name.to_owned()),
        }
    }
    let tried = refused + failed.len();
    println!("attacks: {tried} tried, {refused} refused as expected, {waiting} not yet applicable");
    let alive = runtime.block_on(world.admin.get("/readyz"));
    assert_eq!(alive.text(), "ok", "the server is well after all of them");
    assert!(failed.is_empty(), "not refused: {failed:#?}");
}
