use super::*;

fn contents(entries: &[(&str, &str)]) -> Contents {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    Contents {
        revision: Revision(3),
        entries: entries.iter().map(owned).collect(),
    }
}

const GENERATION: (&str, &str) = ("counter/generation", "2");
const MODEL: (&str, &str) = ("model/m", r#"{"name":"m","current":"2","history":["1"]}"#);
const ONE: (&str, &str) = (
    "version/m/1",
    r#"{"model":"m","version":"1","generation":1,"input_type":"floats"}"#,
);
const TWO: (&str, &str) = (
    "version/m/2",
    r#"{"model":"m","version":"2","generation":2,"input_type":"floats"}"#,
);
const APPLICATION: (&str, &str) = (
    "application/a",
    r#"{"name":"a","input_type":"floats","latency_slo_micros":20000,"default_output":"-1","linked_models":["m"]}"#,
);
const DEPLOYMENT: (&str, &str) = (
    "deployment/m/1",
    r#"{"model":"m","version":"1","replicas":2,"command":["p"]}"#,
);
const ALL: [(&str, &str); 6] = [GENERATION, MODEL, ONE, TWO, APPLICATION, DEPLOYMENT];

/// All records, with one replaced or left out.
fn but(key: &str, value: Option<&str>) -> Contents {
    let mut all = contents(&ALL);
    match value {
        Some(value) => all
            .entries
            .insert(key.to_owned(), value.as_bytes().to_vec()),
        None => all.entries.remove(key),
    };
    all
}

#[test]
fn loads_what_the_store_holds() {
    assert_eq!(
        State::load(&contents(&[]))
            .expect("an empty store")
            .generation,
        0
    );
    let state = State::load(&contents(&ALL)).expect("sound records");
    assert_eq!(
        (state.revision, state.generation, state.query_id),
        (Revision(3), 2, 0)
    );
    let model = state.model("m").expect("the model");
    assert_eq!(
        model.current_version().map(|version| version.generation),
        Some(2)
    );
    assert_eq!(
        model.previous_version().map(|version| version.generation),
        Some(1)
    );
    assert_eq!(
        state
            .application("a")
            .expect("the application")
            .linked_models
            .len(),
        1
    );
    assert_eq!(state.deployments.len(), 1);
}

#[test]
fn keeps_links_to_names_without_a_model() {
    assert!(State::load(&contents(&[APPLICATION])).is_ok());
}

#[test]
fn keeps_deployments_without_a_version() {
    let state = State::load(&contents(&[DEPLOYMENT])).expect("it waits for its version");
    assert_eq!(state.early_deployments().count(), 1);
    let state = State::load(&contents(&ALL)).expect("sound records");
    assert_eq!(state.early_deployments().count(), 0);
}

#[test]
fn refuses_records_that_contradict_each_other() {
    let twice = TWO.1.replace("\"generation\":2", "\"generation\":1");
    let doubles = ONE.1.replace("floats", "doubles");
    let linked_twice = APPLICATION.1.replace("[\"m\"]", "[\"m\",\"m\"]");
    let in_history = MODEL.1.replace("[\"1\"]", "[\"1\",\"2\"]");
    for (contents, key, says) in [
        (
            but("counter/generation", None),
            "version/m/1",
            "expected 1 to 0",
        ),
        (
            but("counter/generation", Some("1")),
            "version/m/2",
            "expected 1 to 1",
        ),
        (
            but("version/m/2", Some(&twice)),
            "version/m/2",
            "another version's",
        ),
        (but("version/m/1", None), "model/m", "'1' does not exist"),
        (but("version/m/2", None), "model/m", "'2' does not exist"),
        (but("model/m", Some(&in_history)), "model/m", "twice"),
        (
            but("version/m/1", Some(&doubles)),
            "application/a",
            "does not take floats",
        ),
        (
            but("application/a", Some(&linked_twice)),
            "application/a",
            "linked twice",
        ),
        (contents(&[GENERATION, MODEL]), "model/m", "no versions"),
        (
            but("deployment/m/1", Some(&DEPLOYMENT.1.replace("\"p\"", ""))),
            "deployment/m/1",
            "command is empty",
        ),
    ] {
        let error = State::load(&contents).expect_err(says);
        assert!(error.to_string().contains(&format!("'{key}'")), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), crate::Kind::Corrupt);
    }
}
