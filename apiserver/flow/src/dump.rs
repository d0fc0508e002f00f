//! The debug pages, in upstream's form: text in columns. Pure.

use std::time::Duration;

use crate::levels::{Flow, LevelView};
use crate::queue_set::Request;

/// A point in time as the page shows it; the caller knows when it began to count.
pub type ShowTime<'a> = &'a dyn Fn(Duration) -> String;

/// Upstream's text of a time that has not come yet.
const NEVER: &str = "0001-01-01T00:00:00Z";
const MIN_WIDTH: usize = 8;

/// Cells end with `,` and blanks up to the widest of their column; the last one with the line.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widest = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].chars().count() + 1).max();
        (widest.unwrap_or(0) + 1).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 < row.len() {
                true => text.push_str(&format!("{:<width$}", format!("{cell},"), width = widths[column])),
                false => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub fn priority_levels(flow: &Flow) -> String {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for LevelView { name, quiescing, queues, .. } in flow.levels() {
        let active = queues.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let counts = queues.counts;
        rows.push(vec![
            name.to_owned(),
            active.to_string(),
            queues.is_idle().to_string(),
            quiescing.to_string(),
            queues.waiting.to_string(),
            queues.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            "0".to_owned(),
            counts.cancelled.to_string(),
        ]);
    }
    table(&rows)
}

pub fn queues(flow: &Flow) -> String {
    let mut rows = vec![heads(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    for LevelView { name, queues, .. } in flow.levels() {
        for (index, queue) in queues.queues.iter().enumerate() {
            let waiting = || queue.waiting.iter().filter_map(|ticket| queues.requests.get(ticket));
            rows.push(vec![
                name.to_owned(),
                index.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.len().to_string(),
                queue.seats_in_use.to_string(),
                queue.next_dispatch_r.to_string(),
                waiting().map(|request| request.work.initial_seats).sum::<u64>().to_string(),
                waiting().map(|request| request.work.max_seats()).sum::<u64>().to_string(),
                queue.waiting_work.to_string(),
            ]);
        }
    }
    table(&rows)
}

/// `details`: with who asks for what.
pub fn requests(flow: &Flow, details: bool, time: ShowTime<'_>) -> String {
    let mut head = heads(&[
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if details {
        let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
        head.extend(heads(&more));
    }
    let mut rows = vec![head];
    for LevelView { name, queues, .. } in flow.levels() {
        let mut show = |queue: Option<usize>, at: Option<usize>, request: &Request| {
            rows.push(row(name, [queue, at], request, details, time));
        };
        for (index, queue) in queues.queues.iter().enumerate() {
            let waiting = queue.waiting.iter().filter_map(|ticket| queues.requests.get(ticket));
            waiting.enumerate().for_each(|(at, request)| show(Some(index), Some(at), request));
            let executing = queue.executing.iter().filter_map(|ticket| queues.requests.get(ticket));
            executing.for_each(|request| show(Some(index), None, request));
        }
        let queueless = queues.requests.values().filter(|request| request.queue.is_none());
        queueless.for_each(|request| show(None, None, request));
    }
    table(&rows)
}

fn row(level: &str, at: [Option<usize>; 2], request: &Request, details: bool, time: ShowTime<'_>) -> Vec<String> {
    let index = |at: Option<usize>| at.map_or("-1".to_owned(), |at| at.to_string());
    let origin = &request.origin;
    let mut row = vec![
        level.to_owned(),
        origin.schema.to_string(),
        index(at[0]),
        index(at[1]),
        origin.distinguisher.clone(),
        time(request.arrived),
        request.work.initial_seats.to_string(),
        request.work.final_seats.to_string(),
        go_duration(request.work.additional),
        request.started.map_or_else(|| NEVER.to_owned(), time),
    ];
    if details {
        let parts = [
            &origin.user,
            &origin.verb,
            &origin.path,
            &origin.namespace,
            &origin.name,
            &origin.api_version,
            &origin.resource,
            &origin.subresource,
        ];
        row.extend(parts.map(Clone::clone));
    }
    row
}

/// `0s`, `5ms`, `1.5s`: as Go prints short durations.
fn go_duration(duration: Duration) -> String {
    match duration.as_nanos() {
        0 => "0s".to_owned(),
        1_000_000_000.. => format!("{}s", duration.as_secs_f64()),
        1_000_000.. => format!("{}ms", duration.as_secs_f64() * 1e3),
        1_000.. => format!("{}µs", duration.as_secs_f64() * 1e6),
        nanos => format!("{nanos}ns"),
    }
}
