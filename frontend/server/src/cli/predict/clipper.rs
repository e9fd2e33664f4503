//! Answers of Clipper's API for people.

use serde_json::Value;

use crate::cli::render::{Table, cell, items, time};

/// An answer, or a table of those of a batch.
pub(super) fn text(answer: &Value) -> String {
    let Some(batch) = answer["batch_predictions"].as_array() else {
        return one(answer);
    };
    let mut table = Table::new(["ROW", "OUTPUT", "FROM"]);
    for (row, answer) in batch.iter().enumerate() {
        table.row([row.to_string(), output(answer), origin(answer)]);
    }
    table.or("no rows")
}

/// The output, and on lines of their own what made it and how.
fn one(answer: &Value) -> String {
    let mut text = format!("{}\n{}\n", output(answer), origin(answer));
    let explanation = &answer["explanation"];
    if explanation.is_object() {
        text.push_str(&explained(explanation));
        text.push('\n');
    }
    text
}

fn output(answer: &Value) -> String {
    let output = &answer["output"];
    output
        .as_str()
        .map_or_else(|| output.to_string(), str::to_owned)
}

fn origin(answer: &Value) -> String {
    if answer["default"] == true {
        let why = cell(&answer["default_explanation"]);
        let cause = cell(&answer["default_cause"]);
        return format!("this is the application's default ({cause}): {why}");
    }
    let id = |one: &Value| format!("{}:{}", cell(&one["name"]), cell(&one["version"]));
    let models: Vec<_> = items(&answer["models"]).iter().map(id).collect();
    format!("predicted by {}", models.join(", "))
}

fn explained(explanation: &Value) -> String {
    let by = match explanation["cached"] == true {
        true => "from the cache",
        false => "not from the cache",
    };
    let uid = match &explanation["uid"] {
        Value::Null => String::new(),
        uid => format!(", asked by {}", cell(uid)),
    };
    format!(
        "answered in {} of {}, the objective is {}; {by}{uid}",
        time(&explanation["elapsed_micros"]),
        time(&explanation["limit_micros"]),
        time(&explanation["slo_micros"]),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_a_default_from_a_prediction() {
        let prediction = json!({
            "query_id": 1, "output": [1.5, 2], "default": false,
            "models": [{ "name": "m", "version": "1", "voted": true }],
        });
        assert_eq!(text(&prediction), "[1.5,2]\npredicted by m:1\n");
        let default = json!({
            "query_id": 1, "output": "none", "default": true,
            "default_explanation": "No connected models found for query",
            "default_cause": "no_replica",
        });
        assert_eq!(
            text(&default),
            "none\nthis is the application's default (no_replica): No connected models found for \
             query\n"
        );
        let batch = text(&json!({ "batch_predictions": [prediction, default] }));
        let lines: Vec<_> = batch.lines().collect();
        assert_eq!(lines[1], "0    [1.5,2]  predicted by m:1");
        assert!(lines[2].starts_with("1    none     this is the"), "{batch}");
    }

    #[test]
    fn an_explanation_is_told_in_words() {
        let answer = json!({
            "output": 1, "default": false, "models": [],
            "explanation": {
                "slo_micros": 20_000, "limit_micros": 5_000, "elapsed_micros": 1_200,
                "cached": false, "uid": "u7",
            },
        });
        let last =
            "answered in 1.2ms of 5ms, the objective is 20ms; not from the cache, asked by u7";
        assert_eq!(text(&answer).lines().last(), Some(last));
    }
}
