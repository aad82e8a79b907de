//! A node's life as lines: for people through `tracing`, for programs as JSON.

use crate::cli::output::plain;
use crate::cli::writer::Writer;
use handfast::manager::{Event, GrantSummary};
use handfast::page::status::Progress;
use serde_json::{Value, json};

/// Tells of an event: as an object where one is wanted, there.
pub(crate) fn tell(event: &Event, objects: Option<&Writer>) {
    if let Some(objects) = objects {
        objects.line(object(event));
        return;
    }
    match event {
        Event::Obstacle(_)
        | Event::Unavailable { .. }
        | Event::ClientPanicked { .. }
        | Event::Lost { .. }
        | Event::Trouble(_)
        | Event::TroubleAgain { .. } => tracing::warn!("{}", plain(event)),
        _ => tracing::info!("{}", plain(event)),
    }
}

/// As an object: `event` is its kind, `text` the line for people, and the rest belongs to the kind.
fn object(event: &Event) -> Value {
    let (kind, mut object) = match event {
        Event::Listening { address, incarnation } => {
            ("listening", json!({ "address": address.to_string(), "incarnation": incarnation.to_string() }))
        }
        Event::Linked { address, ns } => ("linked", json!({ "address": address.to_string(), "ns": ns })),
        Event::PartnerStage { name, progress } => {
            ("partner_stage", json!({ "stage": name, "progress": self::progress(*progress) }))
        }
        Event::Obstacle(_) => ("obstacle", json!({})),
        Event::Unreachable(_) => ("unreachable", json!({})),
        Event::Established { session, partner, incarnation, version, authentication, steps, since_boot_ns, .. } => (
            "established",
            json!({
                "session": session.to_string(),
                "partner": partner.as_str(),
                "incarnation": incarnation.to_string(),
                "protocol": version,
                "authentication": authentication.to_string(),
                "steps": steps.iter().map(|step| json!({ "name": step.name, "ns": step.ns })).collect::<Vec<_>>(),
                "since_boot_ns": since_boot_ns,
            }),
        ),
        Event::Ready { session, grants } => (
            "ready",
            json!({ "session": session.to_string(), "clients": grants.iter().map(grant).collect::<Vec<_>>() }),
        ),
        Event::Unavailable { client, reason } => {
            ("unavailable", json!({ "client": client.as_str(), "reason": plain(reason) }))
        }
        Event::ClientPanicked { client, message } => {
            ("client_panicked", json!({ "client": client.as_str(), "reason": message }))
        }
        Event::Lost { session, reason } => ("lost", json!({ "session": session.to_string(), "reason": plain(reason) })),
        Event::Trouble(error) => ("trouble", json!({ "reason": plain(error) })),
        Event::TroubleAgain { error, times } => ("trouble", json!({ "reason": plain(error), "times": times })),
        Event::Skipped { count } => ("skipped", json!({ "count": count })),
        _ => ("other", json!({})),
    };
    object["event"] = kind.into();
    object["text"] = plain(event).into();
    object
}

fn grant(grant: &GrantSummary) -> Value {
    json!({
        "name": grant.client.as_str(),
        "ports": grant.ports,
        "memory_here_bytes": grant.memory_here_bytes,
        "memory_there_bytes": grant.memory_there_bytes,
    })
}

/// Done, total and percent; the latter null where the total is unknown.
pub(crate) fn progress(progress: Progress) -> Value {
    json!({ "done": progress.done, "total": progress.total, "percent": progress.percent() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_kind_its_text_and_its_own_fields() {
        let event = Event::PartnerStage { name: "replaying log".to_owned(), progress: Progress::new(40, 100) };
        let object = object(&event);
        assert_eq!(object["event"], "partner_stage");
        assert_eq!(object["progress"]["percent"], 40);
        assert_eq!(object["text"], event.to_string());
    }
}
