//! Mutated requests against a whole server: JSON, YAML, protobuf, patches, applied objects, selectors, URLs and
//! continue tokens.
//!
//! Each target starts from the files of its folder in `corpus`, which keeps what was found as well: a request that
//! was answered wrongly is added there. What is answered as nothing was before is mutated further: an answer says which way
//! a request went. The mutations are the same in every run; `FUZZ_ROUNDS` asks for more of them, `FUZZ_MINUTES` for as
//! many as fit in that time, `FUZZ_SEED` for others, and `FUZZ_KEEP` names a folder for requests that went a new way.
//! Whatever comes in, the server answers in time, with less than 500, and says why in a `Status`.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{Answer, Client, Running, pod};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Requests per target.
const ROUNDS: usize = 120;
/// Mutations of one request, at most.
const MUTATIONS: u64 = 4;
/// Bytes of a mutated input, at most: size has tests of its own.
const MAX_INPUT: usize = 16 * 1024;
const IN_TIME: Duration = Duration::from_secs(5);
/// Requests that are kept beside a target's corpus because they went a new way, at most.
const MOST_WAYS: usize = 2000;
/// Characters of an answer that tell one way from another.
const LONGEST_WAY: usize = 160;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What grammars trip over.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "1e400",
    "9223372036854775808",
    "\\u0000",
    "\\ud800",
    "\0",
    "\u{feff}",
    "é",
    "&a",
    "*a",
    "!!binary ",
    "<<",
    "---\n",
    "- ",
    "\t",
    "$patch",
    "$setElementOrder/containers",
    "/",
    "~1",
    "~0",
    "/-",
    "%2e%2e",
    "%00",
    "%2f",
    "..",
    ";",
    "?",
    "in (",
    ")",
    "!=",
    "\u{7f}",
];

/// xorshift64: the same sequence for the same seed.
struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).expect("small")).expect("small")
    }
}

#[derive(Clone)]
struct Seed {
    name: String,
    bytes: Vec<u8>,
}

fn corpus(target: &str) -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("the folder of the target");
    let mut seeds: Vec<Seed> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            Seed { name, bytes: std::fs::read(path).expect("it is readable") }
        })
        .collect();
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!seeds.is_empty(), "{target} has a corpus");
    seeds
}

/// How long a target goes on.
enum Bound {
    Rounds(usize),
    Until(Instant),
}

/// What the environment asks for.
fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

impl Bound {
    /// What the environment asks for.
    fn given() -> Self {
        match number("FUZZ_MINUTES") {
            Some(minutes) => Self::Until(Instant::now() + Duration::from_secs(60) * minutes),
            None => Self::Rounds(number("FUZZ_ROUNDS").unwrap_or(ROUNDS)),
        }
    }

    fn allows(&self, round: usize) -> bool {
        match self {
            Self::Rounds(rounds) => round < *rounds,
            Self::Until(end) => Instant::now() < *end,
        }
    }
}

/// The ways that requests went, as far as answers tell.
#[derive(Default)]
struct Ways(HashSet<String>);

impl Ways {
    /// Whether none went this way before.
    fn is_new(&mut self, code: u16, text: &str) -> bool {
        if self.0.len() >= MOST_WAYS {
            return false;
        }
        // Without what the request itself holds: numbers and quotations.
        let words = text.split(['"', '\'']).step_by(2).flat_map(str::chars).filter(|c| !c.is_ascii_digit());
        let way: String = words.take(LONGEST_WAY).collect();
        self.0.insert(format!("{code} {way}"))
    }
}

fn mutate(dice: &mut Dice, seeds: &[Seed], bytes: &mut Vec<u8>) {
    for _ in 0..=dice.roll(usize::try_from(MUTATIONS).expect("small")) {
        let (at, len) = (dice.roll(bytes.len() + 1), dice.roll(24));
        let end = (at + len).min(bytes.len());
        match dice.roll(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].repeat(1 + dice.roll(8));
                bytes.splice(at..at, part);
            }
            3 => bytes.truncate(at),
            4 => {
                let other = &seeds[dice.roll(seeds.len())].bytes;
                let from = dice.roll(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied());
            }
            _ => drop(bytes.splice(at..end, WORDS[dice.roll(WORDS.len())].bytes())),
        }
        bytes.truncate(MAX_INPUT);
    }
}

/// Every byte escaped that is none of a query's own.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(*byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// What comes before the first dot and after the last one says how a request is sent.
fn kept_name(sent: &Seed) -> String {
    let mut hasher = DefaultHasher::new();
    sent.bytes.hash(&mut hasher);
    let hash = hasher.finish();
    let first = sent.name.split('.').next().expect("one at least");
    match sent.name.rsplit_once('.') {
        Some((_, last)) => format!("{first}.{hash:016x}.{last}"),
        None => format!("{first}.{hash:016x}"),
    }
}

/// The requests of one target: its corpus as it is, then mutations of it and of what went a new way.
struct Search {
    seeds: Vec<Seed>,
    /// How many of them are the corpus.
    given: usize,
    dice: Dice,
    ways: Ways,
    bound: Bound,
    /// Requests that were answered.
    round: usize,
    /// Where what went a new way is kept.
    kept: Option<PathBuf>,
}

impl Search {
    /// Each target has mutations of its own.
    fn new(target: &str, target_number: u64) -> Self {
        let seeds = corpus(target);
        let given = seeds.len();
        let dice = Dice(target_number | number::<u64>("FUZZ_SEED").unwrap_or(0).rotate_left(8));
        let kept = std::env::var_os("FUZZ_KEEP").map(|folder| Path::new(&folder).join(target));
        if let Some(folder) = &kept {
            std::fs::create_dir_all(folder).expect("a folder to keep requests in");
        }
        Self { seeds, given, dice, ways: Ways::default(), bound: Bound::given(), round: 0, kept }
    }

    fn is_past_corpus(&self) -> bool {
        self.round >= self.given
    }

    /// What to send next, under the name of the seed it comes from.
    fn draw(&mut self) -> Option<Seed> {
        if !self.is_past_corpus() {
            return Some(self.seeds[self.round].clone());
        }
        if !self.bound.allows(self.round - self.given) {
            return None;
        }
        let mut drawn = self.seeds[self.dice.roll(self.seeds.len())].clone();
        mutate(&mut self.dice, &self.seeds, &mut drawn.bytes);
        Some(drawn)
    }

    /// Notes how what was sent was answered. It is a seed from now on if that was a new way.
    fn follow(&mut self, sent: Seed, code: u16, text: &str) {
        if self.ways.is_new(code, if code < 300 { "" } else { text }) && self.is_past_corpus() {
            if let Some(folder) = &self.kept {
                std::fs::write(folder.join(kept_name(&sent)), &sent.bytes).expect("kept");
            }
            self.seeds.push(sent);
        }
        self.round += 1;
    }
}

fn judge(answer: &Answer, input: &[u8]) {
    let shown = String::from_utf8_lossy(input);
    // Upstream has no code of its own for what apply cannot type, nor for a revision that is still to come.
    let known = [(500, "failed to create typed patch object"), (504, "Timeout: Too large resource version")];
    let is_known = known.iter().any(|(code, text)| answer.code == *code && answer.text().contains(text));
    assert!(answer.code < 500 || is_known, "{}: {shown}", answer.status());
    if answer.code >= 400 {
        let status = answer.json();
        assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &answer.code.into()), "{shown}");
        assert!(status["message"].as_str().is_some_and(|text| !text.is_empty()), "{status}: {shown}");
    }
}

async fn in_time<T>(time: Duration, input: &[u8], answer: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(time, answer).await;
    answer.unwrap_or_else(|_| panic!("no answer in time: {}", String::from_utf8_lossy(input)))
}

/// Runs one target: the seeds as they are, then mutated.
async fn run(target: &str, seed: u64, send: impl AsyncFn(&Client, &str, Vec<u8>) -> Answer) {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("p")).await.code, 201);
    let (mut search, mut accepted) = (Search::new(target, seed), 0);
    while let Some(sent) = search.draw() {
        let answer = in_time(IN_TIME, &sent.bytes, send(&server.admin, &sent.name, sent.bytes.clone())).await;
        judge(&answer, &sent.bytes);
        accepted += usize::from(answer.code < 300);
        search.follow(sent, answer.code, &answer.text());
    }
    assert_eq!(server.admin.get("/readyz").await.text(), "ok");
    println!("{target}: {} requests, {accepted} accepted, {} ways", search.round, search.ways.0.len());
}

async fn post(client: &Client, target: &str, media_type: &str, bytes: Vec<u8>) -> Answer {
    client.send(true, "POST", &format!("{target}?dryRun=All"), &[("content-type", media_type)], bytes).await
}

/// To the kind that the seed is of.
fn collection(seed: &str) -> &'static str {
    match seed.split('.').next() {
        Some("deployment") => "/apis/apps/v1/namespaces/default/deployments",
        Some("service") => "/api/v1/namespaces/default/services",
        Some("map") => MAPS,
        _ => PODS,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_json() {
    run("json", 1, async |client, seed, bytes| post(client, collection(seed), "application/json", bytes).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_yaml() {
    run("yaml", 2, async |client, seed, bytes| post(client, collection(seed), "application/yaml", bytes).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_protobuf() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    run("protobuf", 3, async |client, seed, bytes| post(client, collection(seed), PROTOBUF, bytes).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_patches() {
    let target = format!("{PODS}/p?dryRun=All");
    run("patch", 4, async |client, seed, bytes| {
        let media_type = match seed.rsplit('.').next() {
            Some("json-patch") => "application/json-patch+json",
            Some("merge-patch") => "application/merge-patch+json",
            _ => "application/strategic-merge-patch+json",
        };
        client.send(true, "PATCH", &target, &[("content-type", media_type)], bytes).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_apply() {
    let target = format!("{PODS}/p?dryRun=All&fieldManager=f&force=true");
    run("apply", 5, async |client, _, bytes| {
        client.send(true, "PATCH", &target, &[("content-type", "application/apply-patch+yaml")], bytes).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_selectors() {
    run("selector", 6, async |client, seed, bytes| {
        let which = if seed.starts_with("fields") { "fieldSelector" } else { "labelSelector" };
        client.get(&format!("{PODS}?{which}={}", escaped(&bytes))).await
    })
    .await;
}

/// Half of them are changed as they are sent, half before they are encoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_tokens() {
    run("token", 7, async |client, _, bytes| {
        let encoded = if bytes.len() % 2 == 0 { URL_SAFE_NO_PAD.encode(&bytes) } else { escaped(&bytes) };
        client.get(&format!("{PODS}?limit=1&continue={encoded}")).await
    })
    .await;
}

/// The bytes of the request line, which no client library would send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzz_urls() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("p")).await.code, 201);
    let mut search = Search::new("url", 8);
    while let Some(mut sent) = search.draw() {
        sent.bytes.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        let line = String::from_utf8_lossy(&sent.bytes).into_owned();
        let request = format!("GET {line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        // Of what does not end, like a watch, the client takes what has come after a while.
        let answer = in_time(IN_TIME * 2, &sent.bytes, server.admin.raw(&request)).await;
        let code: u16 = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(400);
        // A proxy answers 502 or 503 for a pod that runs nowhere.
        assert!(code < 500 || matches!(code, 502 | 503), "{code}: {line}: {answer}");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        search.follow(sent, code, body);
    }
    println!("url: {} requests, {} ways", search.round, search.ways.0.len());
    assert_eq!(server.admin.get("/readyz").await.text(), "ok");
}
