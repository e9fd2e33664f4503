//! The files of `schema/golden`.

use serde_json::{Value, json};
use skysail_rpc::Payload;
use skysail_rpc::message::Frame;
use thiserror::Error;

use crate::{hex, render};

/// A recorded exchange between a front end and a container.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What it shows; the file's name without `.json`.
    pub name: String,
    /// The clause of `PROTOCOL.md` that it holds a container to.
    pub clause: String,
    /// The model that the container must serve, under this name as version 1; see
    /// `schema/golden/README.md`.
    pub container: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step of an exchange.
#[derive(Clone, Debug)]
pub enum Step {
    /// The front end sends this, byte for byte.
    Frontend(Frame),
    /// The container sends this, or what means the same.
    Container {
        /// What it sent when the exchange was recorded.
        frame: Frame,
        /// What it may send instead, where two sides race.
        or: Option<Frame>,
    },
    /// The container closes the connection.
    Closed,
}

/// A file is not an exchange.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not JSON.
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    /// A field is missing or of another type.
    #[error("step {step} has no valid '{field}'")]
    Field {
        /// Counted from 1; 0 is the file itself.
        step: usize,
        /// Which.
        field: &'static str,
    },
    /// The readable message is not what the bytes say.
    #[error("the message of step {step} is not what its frames say; record it again")]
    Stale {
        /// Counted from 1.
        step: usize,
    },
}

impl Exchange {
    /// Reads a file's text.
    ///
    /// # Errors
    /// If it is not an exchange, or a message is not what its bytes say.
    pub fn parse(text: &str) -> Result<Exchange, FormatError> {
        let file: Value = serde_json::from_str(text)?;
        let field = |field| {
            let text = file[field]
                .as_str()
                .ok_or(FormatError::Field { step: 0, field });
            text.map(str::to_owned)
        };
        let steps = file["steps"].as_array().ok_or(FormatError::Field {
            step: 0,
            field: "steps",
        })?;
        let steps = (1..)
            .zip(steps)
            .map(|(index, step)| parse_step(index, step));
        Ok(Exchange {
            name: field("name")?,
            clause: field("clause")?,
            container: field("container")?,
            steps: steps.collect::<Result<_, _>>()?,
        })
    }

    /// The file's text, one line a step.
    #[must_use]
    pub fn to_text(&self) -> String {
        let head = [
            ("name", &self.name),
            ("clause", &self.clause),
            ("container", &self.container),
        ];
        let head: String = head
            .iter()
            .map(|(key, value)| format!("  \"{key}\": {},\n", json!(value)))
            .collect();
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| format!("    {}", step_text(step)))
            .collect();
        format!("{{\n{head}  \"steps\": [\n{}\n  ]\n}}\n", steps.join(",\n"))
    }
}

/// One line, the readable part before the bytes.
fn step_text(step: &Step) -> String {
    match step {
        Step::Frontend(frame) => format!("{{\"from\": \"frontend\", {}}}", said(frame)),
        Step::Container { frame, or: None } => {
            format!("{{\"from\": \"container\", {}}}", said(frame))
        }
        Step::Container {
            frame,
            or: Some(or),
        } => {
            format!(
                "{{\"from\": \"container\", {}, \"or\": {{{}}}}}",
                said(frame),
                said(or)
            )
        }
        Step::Closed => {
            "{\"from\": \"container\", \"message\": {\"closed\":{}}, \"frames\": []}".to_owned()
        }
    }
}

fn said(frame: &Frame) -> String {
    let all = std::iter::once(&frame.header).chain(&frame.payloads);
    let frames: Vec<String> = all.map(|bytes| hex::encode(bytes.as_bytes())).collect();
    format!(
        "\"message\": {}, \"frames\": {}",
        render::frame(frame),
        json!(frames)
    )
}

fn parse_step(step: usize, value: &Value) -> Result<Step, FormatError> {
    match value["from"].as_str() {
        Some("frontend") => Ok(Step::Frontend(parse_said(step, value)?)),
        Some("container") if value["message"].get("closed").is_some() => Ok(Step::Closed),
        Some("container") => {
            let or = value
                .get("or")
                .map(|value| parse_said(step, value))
                .transpose()?;
            Ok(Step::Container {
                frame: parse_said(step, value)?,
                or,
            })
        }
        _ => Err(FormatError::Field {
            step,
            field: "from",
        }),
    }
}

fn parse_said(step: usize, value: &Value) -> Result<Frame, FormatError> {
    let wrong = || FormatError::Field {
        step,
        field: "frames",
    };
    let texts = value["frames"].as_array().ok_or_else(wrong)?;
    let bytes = |text: &Value| -> Result<Payload, FormatError> {
        let bytes = text.as_str().and_then(hex::decode).ok_or_else(wrong)?;
        Ok(Payload::copy_from_slice(&bytes))
    };
    let mut all = texts.iter().map(bytes);
    let header = all.next().ok_or_else(wrong)??;
    let frame = Frame {
        header,
        payloads: all.collect::<Result<_, _>>()?,
    };
    if render::frame(&frame) == value["message"] {
        Ok(frame)
    } else {
        Err(FormatError::Stale { step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skysail_rpc::message::{BatchId, Encoder, Message};

    fn exchange() -> Exchange {
        let frame = Encoder::default().encode(&Message::Cancel(BatchId(3)));
        let garbage = Frame {
            header: Payload::copy_from_slice(&[1, 2]),
            ..Frame::default()
        };
        let or = Some(garbage.clone());
        let steps = vec![
            Step::Frontend(frame.clone()),
            Step::Container { frame, or },
            Step::Closed,
        ];
        Exchange {
            name: "n".into(),
            clause: "5.2".into(),
            container: "sum".into(),
            steps,
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = exchange().to_text();
        let back = Exchange::parse(&text).expect("an exchange");
        assert_eq!(back.to_text(), text);
        assert_eq!(
            text.lines()
                .filter(|line| line.contains("\"from\""))
                .count(),
            3
        );
    }

    #[test]
    fn a_message_that_is_not_what_the_bytes_say_is_refused() {
        let text = exchange()
            .to_text()
            .replacen("\"batch\":3", "\"batch\":4", 1);
        let error = Exchange::parse(&text).expect_err("stale").to_string();
        assert_eq!(
            error,
            "the message of step 1 is not what its frames say; record it again"
        );
        let text = exchange()
            .to_text()
            .replacen("\"frontend\"", "\"someone\"", 1);
        let error = Exchange::parse(&text)
            .expect_err("unknown side")
            .to_string();
        assert_eq!(error, "step 1 has no valid 'from'");
    }
}
