//! `skysail tune`: what the models of an application bear, and which knob would change it.

mod simulated;

use std::fmt::Write;

use serde_json::{Value, json};

use super::client::Client;
use super::render::{Facts, Table, cell, items, number, seconds, sections, unit};
use super::{Common, Outcome, Printed, segment};
use simulated::Simulated;

/// `tune`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail tune digits
  skysail tune digits --seed 7 --json

The advice goes by what was learned from the batches so far: a model that has served little, or
only small batches, is known little. It is then checked against the simulator: the batcher that
serves, on a virtual clock, with the latency that was learned and queries that come at random.

BEARS is what the replicas answer at most, by analysis; SIMULATED is that with chance, which takes
more the tighter the SLO is. BINDING is what keeps the rate from being larger:
  slo                 larger batches would be late: a looser objective, or a replica more
  container_rows_max  the container takes no larger batches
  size_max            --batch-size of the version
  allowed_sizes       the next compiled shape is too large
  replicas            larger batches would hardly bear more: only replicas do")]
pub(crate) struct Tune {
    /// The application
    application: String,
    /// Seed of the simulated arrivals and of the noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Tune {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let path = format!("applications/{}/advice", segment(&self.application));
        let mut answer = client.get(&path)?.value;
        let objective = number(&answer["objective_seconds"]);
        let mut parts = Vec::new();
        for version in items(&answer["versions"]) {
            let simulated = Simulated::of(&version["advice"], objective, self.seed);
            parts.push((text(version, objective, simulated.as_ref()), simulated));
        }
        let mut whole = heading(&answer);
        for (index, (text, simulated)) in parts.into_iter().enumerate() {
            let _ = write!(whole, "\n{text}");
            answer["versions"][index]["simulated"] = json!(simulated);
        }
        Ok(Printed {
            text: whole,
            json: answer.to_string(),
        })
    }
}

fn heading(answer: &Value) -> String {
    let objective = seconds(&answer["objective_seconds"]);
    let name = cell(&answer["application"]);
    if items(&answer["versions"]).is_empty() {
        return format!("application {name}, SLO {objective}: no model is linked to it\n");
    }
    format!("application {name}, SLO {objective}\n")
}

fn text(version: &Value, objective: f64, simulated: Option<&Simulated>) -> String {
    let current = if version["current"] == true {
        ""
    } else {
        ", not the current version"
    };
    let title = format!(
        "{}:{}{current}",
        cell(&version["model"]),
        cell(&version["version"])
    );
    let advice = &version["advice"];
    if advice.is_null() {
        let why = "nothing is known yet: it takes a replica, a policy that learns, and queries";
        return sections(&[(&title, why.to_owned())]);
    }
    sections(&[
        (&title, now(advice, simulated)),
        ("WHAT IF (by analysis)", what_if(advice, objective).or("")),
    ])
}

fn now(advice: &Value, simulated: Option<&Simulated>) -> String {
    let capacity = &advice["capacity"];
    let (rate, known) = (number(&capacity["queries_per_second"]), &advice["known"]);
    let arriving = number(&advice["arriving_per_second"]);
    let replicas = items(&known["replicas"]).len();
    let mut facts = Facts::default();
    if rate > 0.0 {
        let rows = cell(&capacity["rows"]);
        facts.add(
            "bears",
            format!(
                "{rate:.0} queries a second on {}, in batches of {rows}",
                counted(replicas, "replica")
            ),
        );
        if let Some(simulated) = simulated {
            facts.add("simulated", simulated.text());
        }
        let left = 100.0 * (1.0 - arriving / rate);
        facts.add(
            "arriving",
            format!("{arriving:.0} a second: headroom {left:.0} %"),
        );
    } else {
        facts.add(
            "bears",
            "nothing: not even a batch of one is in time".to_owned(),
        );
        facts.add("arriving", format!("{arriving:.0} a second"));
    }
    facts.add("binding", cell(&advice["binding"]));
    facts.add("latency", latency(advice));
    facts.add("needed", needed(advice, arriving));
    if advice["extrapolated"] == true {
        facts.add(
            "note",
            "batches of that size have not been seen: the figure is a guess".to_owned(),
        );
    }
    facts.text()
}

fn latency(advice: &Value) -> String {
    let known = &advice["known"];
    let bent = match items(&known["factors"]).len() {
        0 => "",
        _ => ", bent by what was seen",
    };
    let each = unit(&known["cost_mean"]);
    format!(
        "{} a batch and {} a {each}{bent}; alone {}, planned with {}",
        seconds(&known["alpha_seconds"]),
        seconds(&known["beta_seconds"]),
        seconds(&advice["alone"]["typical_seconds"]),
        seconds(&advice["alone"]["cautious_seconds"]),
    )
}

fn needed(advice: &Value, arriving: f64) -> String {
    let needed = &advice["needed"];
    let replicas = match needed["replicas"].as_u64() {
        Some(count) => counted(count as usize, "replica"),
        None => "no number of replicas".to_owned(),
    };
    let objective = match needed["objective_seconds"].as_f64() {
        Some(_) => format!("an SLO of {}", seconds(&needed["objective_seconds"])),
        None => "no SLO with these replicas".to_owned(),
    };
    format!("for {arriving:.0} a second: {replicas} at this SLO, or {objective}")
}

fn what_if(advice: &Value, objective: f64) -> Table {
    let mut table = Table::new(["CHANGE", "BEARS", "GAIN", "BATCH"]);
    let now = &advice["capacity"]["queries_per_second"];
    let known = &advice["known"];
    let replicas = items(&known["replicas"]).len();
    for one in items(&advice["what_if"]) {
        let bears = &one["capacity"]["queries_per_second"];
        let (before, after) = (number(now), number(bears));
        let gain = if before > 0.0 {
            format!("{:+.0} %", 100.0 * (after / before - 1.0))
        } else {
            "-".to_owned()
        };
        table.row([
            change(one, replicas, objective),
            format!("{after:.0}"),
            gain,
            cell(&one["capacity"]["rows"]),
        ]);
    }
    table
}

/// What differs in a situation that is not there.
fn change(one: &Value, replicas: usize, objective: f64) -> String {
    let count = one["replicas"].as_u64().unwrap_or(0) as usize;
    if count != replicas {
        counted(count, "replica")
    } else if number(&one["objective_seconds"]) == objective {
        format!("batches of up to {}", cell(&one["rows_max"]))
    } else {
        format!("SLO {}", seconds(&one["objective_seconds"]))
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests;
